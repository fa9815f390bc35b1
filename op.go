package kms

// Op is an operation of the service, under the name that the field knows it by. It is
// what Authorize is asked about, what Observe is told of, and a row of the lifecycle
// table.
type Op uint8

// The operations. ReEncrypt is two: it uses one key to decrypt and one to encrypt.
const (
	opNone Op = iota
	opOpen
	opInspect
	opWrapForImport
	opVerifyBackup
	OpCreateKey
	OpListKeys
	OpListAliases
	OpMaintain
	OpRotateRoot
	OpMigrateLegacyKey
	OpCreateInstance
	OpDescribeInstance
	OpListInstances
	OpRenewInstance
	OpReleaseInstance
	OpShred
	OpSetInstanceDeletionProtection
	OpBackupInstance
	OpRestore
	OpListTombstones
	OpExplain
	OpDeletionReceipt
	OpPlanRelease
	OpReleaseReceipt
	OpDescribeKey
	OpListKeyVersions
	OpGetKeyUsage
	OpPlanDeletion
	OpGenerateDataKey
	OpGenerateDataKeyWithoutPlaintext
	OpEncrypt
	OpDecrypt
	OpReEncryptFrom
	OpReEncryptTo
	OpSign
	OpVerify
	OpGenerateMac
	OpVerifyMac
	OpAsymmetricEncrypt
	OpAsymmetricDecrypt
	OpGetPublicKey
	OpEnableKey
	OpDisableKey
	OpScheduleKeyDeletion
	OpCancelKeyDeletion
	OpSetDeletionProtection
	OpAddDependent
	OpRemoveDependent
	OpSetBrownout
	OpRotateKey
	OpUpdateRotationPolicy
	OpRetireKeyVersions
	OpCancelRetirement
	OpGetParametersForImport
	OpImportKeyMaterial
	OpDeleteKeyMaterial
	OpSetDescription
	OpSetTags
	OpCreateAlias
	OpUpdateAlias
	OpDeleteAlias
	numOps
)

var opNames = [numOps]string{
	opNone:                            "none",
	opOpen:                            "Open",
	opInspect:                         "Inspect",
	opWrapForImport:                   "WrapForImport",
	opVerifyBackup:                    "VerifyBackup",
	OpCreateKey:                       "CreateKey",
	OpListKeys:                        "ListKeys",
	OpListAliases:                     "ListAliases",
	OpMaintain:                        "Maintain",
	OpRotateRoot:                      "RotateRoot",
	OpMigrateLegacyKey:                "MigrateLegacyKey",
	OpCreateInstance:                  "CreateInstance",
	OpDescribeInstance:                "DescribeInstance",
	OpListInstances:                   "ListInstances",
	OpRenewInstance:                   "RenewInstance",
	OpReleaseInstance:                 "ReleaseInstance",
	OpShred:                           "Shred",
	OpSetInstanceDeletionProtection:   "SetInstanceDeletionProtection",
	OpBackupInstance:                  "BackupInstance",
	OpRestore:                         "Restore",
	OpListTombstones:                  "ListTombstones",
	OpPlanRelease:                     "PlanRelease",
	OpReleaseReceipt:                  "ReleaseReceipt",
	OpDescribeKey:                     "DescribeKey",
	OpListKeyVersions:                 "ListKeyVersions",
	OpGetKeyUsage:                     "GetKeyUsage",
	OpPlanDeletion:                    "PlanDeletion",
	OpExplain:                         "Explain",
	OpDeletionReceipt:                 "DeletionReceipt",
	OpGenerateDataKey:                 "GenerateDataKey",
	OpGenerateDataKeyWithoutPlaintext: "GenerateDataKeyWithoutPlaintext",
	OpEncrypt:                         "Encrypt",
	OpDecrypt:                         "Decrypt",
	OpReEncryptFrom:                   "ReEncryptFrom",
	OpReEncryptTo:                     "ReEncryptTo",
	OpSign:                            "Sign",
	OpVerify:                          "Verify",
	OpGenerateMac:                     "GenerateMac",
	OpVerifyMac:                       "VerifyMac",
	OpAsymmetricEncrypt:               "AsymmetricEncrypt",
	OpAsymmetricDecrypt:               "AsymmetricDecrypt",
	OpGetPublicKey:                    "GetPublicKey",
	OpEnableKey:                       "EnableKey",
	OpDisableKey:                      "DisableKey",
	OpScheduleKeyDeletion:             "ScheduleKeyDeletion",
	OpCancelKeyDeletion:               "CancelKeyDeletion",
	OpSetDeletionProtection:           "SetDeletionProtection",
	OpAddDependent:                    "AddDependent",
	OpRemoveDependent:                 "RemoveDependent",
	OpSetBrownout:                     "SetBrownout",
	OpRotateKey:                       "RotateKey",
	OpUpdateRotationPolicy:            "UpdateRotationPolicy",
	OpRetireKeyVersions:               "RetireKeyVersions",
	OpCancelRetirement:                "CancelRetirement",
	OpGetParametersForImport:          "GetParametersForImport",
	OpImportKeyMaterial:               "ImportKeyMaterial",
	OpDeleteKeyMaterial:               "DeleteKeyMaterial",
	OpSetDescription:                  "SetDescription",
	OpSetTags:                         "SetTags",
	OpCreateAlias:                     "CreateAlias",
	OpUpdateAlias:                     "UpdateAlias",
	OpDeleteAlias:                     "DeleteAlias",
}

// String returns the operation's name, such as "ScheduleKeyDeletion".
func (op Op) String() string {
	if op >= numOps {
		return "unknown"
	}
	return opNames[op]
}
