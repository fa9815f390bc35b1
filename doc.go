// Package kms is a key management service inside a Go program: master keys that do not
// leave it, envelope encryption, and keys that live by rules, over a key store of the
// program's choice and with no server to run.
//
//	root, err := software.OpenRootFile("/etc/myapp/root.key")
//	store, err := boltstore.Open("/var/lib/myapp/keys.db", nil)
//	m, err := kms.Open(ctx, kms.Config{Store: store, Root: root, Software: software.New()})
//
// (Once, before the first start, software.CreateRootFile makes the root, and
// boltstore.Options.Create the store. The lines above make neither: a path that is mistyped is an
// error.)
//
//	key, err := m.CreateKey(ctx, &kms.CreateKeyOptions{Description: "invoices"})
//	ec := kms.EncryptionContext{"table": "invoices"}
//	dataKey, err := m.GenerateDataKey(ctx, key.ID, ec)
//	// encrypt with dataKey.Plaintext(), keep dataKey.Ciphertext beside the data, wipe
//	dataKey.Wipe()
//	…
//	plainKey, err := m.Decrypt(ctx, wrapped, ec) // the ciphertext names its master key
//	plainKey, _, err = m.DecryptWithKey(ctx, key.ID, wrapped, ec) // that key or none
//
//	go m.Run(ctx) // does what time asks for: destroys, rotates, gives notice
//
// # Terms
//
// A master key (CMK) has material that encrypts and that nobody sees. A data key is made
// under a master key for the caller's own encryption: envelope encryption. The key store
// holds the master keys, sealed under an instance key, which the Root seals: without the
// Root a key store is noise. An encryption context says what a ciphertext is for, and
// must be given again to open it. Wherever a key is asked for, its ID or an alias will do.
//
// A ciphertext names its key, and Decrypt obeys it. If others can replace ciphertexts, use
// DecryptWithKey, which opens with the key that the caller names and returns which version it was.
//
// Keys live in an instance, a key store within the key store with an expiry of its own. There
// is always one, "default", which never expires, and a program that does not care never meets
// another.
//
// A key is for one thing, its usage: to encrypt (AES_256, and RSA with OAEP), to sign (RSA, EC,
// ED25519, ML_DSA_65), to make MACs (HMAC). Signer and Decrypter give keys to the standard
// library.
//
// # Deletion
//
// A key is deleted by a date, 7 to 366 days ahead. From ScheduleKeyDeletion on it is
// suspended; until the date CancelKeyDeletion brings it back, as Disabled as it was; at
// that instant it is Deleted for every Manager at once, whether or not anything ran.
// Maintain destroys its material later, so that a clock that jumped destroys nothing: set
// back before that, it brings the key back; after that nothing does.
//
// Versions of a key end in the same way. RetireKeyVersions suspends old versions at once
// (ErrRetired), and Maintain destroys them after a date, 7 to 366 days ahead. Until the date
// CancelRetirement brings them back. Move what they encrypted to the primary version with Rewrap
// first.
//
// # Instances
//
// An instance that has expired is renewed within 15 times 24 hours, or released. Until then
// its keys are Unavailable (ErrInstanceExpired) and come back as they were; after that they are
// gone, unless a backup is restored. To release an instance is one write, however many keys it
// has. ReleaseInstance asks for a backup, and that no key is protected or in use, or for a reason
// to do it by force. PlanRelease says beforehand what would refuse it.
//
// Deletion protection of an instance (SetInstanceDeletionProtection) covers its keys, too. It
// stops calls, not dates: the instance still expires, and deletions that are scheduled run on.
//
// BackupInstance writes an instance to a stream, sealed for a root that is kept elsewhere;
// VerifyBackup reads it as Restore would; Restore brings it back, under the IDs that it had, and
// makes nothing weaker than it is. If its expiry is past, the caller gives it a new one, or none.
//
// What old copies of the store hold of a deleted key is dead after three steps, in this order:
// Shred of its instance, RotateRoot, and the destruction of the old root. DeletionReceipt says
// how far a key is deleted, and what is still to be done; ReleaseReceipt says it of the keys of an
// instance that was released.
//
// # Before a key is deleted
//
// PlanDeletion says what still uses a key, and Explain whether a call would be allowed and
// why not. SetBrownout refuses a share of the uses for a while, so that what needs the key
// shows. A use of a key that is PendingDeletion is reported to Config.Observe as an alarm, and so
// is each step that Maintain takes by itself (Event.Step).
//
// # Services and other systems
//
// A part of the program may have a key that only its view changes: Manager.Service. Keys of
// another system decrypt here what they encrypted there (Config.Legacy), and can be taken
// over under their ID: MigrateLegacyKey.
//
// # States
//
// A state is never stored. It follows from the facts of a key and the clock. What each
// operation does in each state, printed from the table that decides it ("ok": done, and
// the state stays; a state: it is done and the key is that; "as by itself": as the state
// says that the key has but for its instance; an error: refused):
//
//	operation                        PendingImport     Enabled        Disabled         PendingDeletion     Deleted      Unavailable         whatever the state
//	DescribeKey                      ok                ok             ok               ok                  ErrNotFound  ok
//	ListKeyVersions                  ok                ok             ok               ok                  ErrNotFound  ok
//	GetKeyUsage                      ok                ok             ok               ok                  ErrNotFound  ok
//	PlanDeletion                     ok                ok             ok               ok                  ErrNotFound  ok
//	GenerateDataKey                  ErrPendingImport  ok             ErrDisabled      ErrPendingDeletion  ErrNotFound  ErrInstanceExpired  ErrReadOnly, ErrUsage unless AES, ErrBrownout
//	GenerateDataKeyWithoutPlaintext  ErrPendingImport  ok             ErrDisabled      ErrPendingDeletion  ErrNotFound  ErrInstanceExpired  ErrReadOnly, ErrUsage unless AES, ErrBrownout
//	Encrypt                          ErrPendingImport  ok             ErrDisabled      ErrPendingDeletion  ErrNotFound  ErrInstanceExpired  ErrReadOnly, ErrUsage unless AES, ErrBrownout
//	Decrypt                          ErrPendingImport  ok             ErrDisabled      ErrPendingDeletion  ErrNotFound  ErrInstanceExpired  ErrUsage unless AES, ErrRetired, ErrBrownout
//	ReEncryptFrom                    ErrPendingImport  ok             ErrDisabled      ErrPendingDeletion  ErrNotFound  ErrInstanceExpired  ErrUsage unless AES, ErrRetired, ErrBrownout
//	ReEncryptTo                      ErrPendingImport  ok             ErrDisabled      ErrPendingDeletion  ErrNotFound  ErrInstanceExpired  ErrReadOnly, ErrUsage unless AES, ErrBrownout
//	Sign                             ErrPendingImport  ok             ErrDisabled      ErrPendingDeletion  ErrNotFound  ErrInstanceExpired  ErrReadOnly, ErrUsage unless it signs, ErrBrownout
//	Verify                           ErrPendingImport  ok             ErrDisabled      ErrPendingDeletion  ErrNotFound  ErrInstanceExpired  ErrReadOnly, ErrUsage unless it signs, ErrBrownout
//	GenerateMac                      ErrPendingImport  ok             ErrDisabled      ErrPendingDeletion  ErrNotFound  ErrInstanceExpired  ErrReadOnly, ErrUsage unless it makes MACs, ErrBrownout
//	VerifyMac                        ErrPendingImport  ok             ErrDisabled      ErrPendingDeletion  ErrNotFound  ErrInstanceExpired  ErrReadOnly, ErrUsage unless it makes MACs, ErrBrownout
//	AsymmetricEncrypt                ErrPendingImport  ok             ErrDisabled      ErrPendingDeletion  ErrNotFound  ErrInstanceExpired  ErrReadOnly, ErrUsage unless RSA to decrypt, ErrBrownout
//	AsymmetricDecrypt                ErrPendingImport  ok             ErrDisabled      ErrPendingDeletion  ErrNotFound  ErrInstanceExpired  ErrReadOnly, ErrUsage unless RSA to decrypt, ErrBrownout
//	GetPublicKey                     ErrPendingImport  ok             ok               ErrPendingDeletion  ErrNotFound  ErrInstanceExpired  ErrReadOnly, ErrUsage unless asymmetric, ErrBrownout
//	EnableKey                        ErrState          ok             Enabled          ErrState            ErrNotFound  ErrInstanceExpired  ErrReadOnly
//	DisableKey                       ErrState          Disabled       ok               ErrState            ErrNotFound  as by itself        ErrReadOnly
//	ScheduleKeyDeletion              PendingDeletion   ErrState       PendingDeletion  ErrState            ErrNotFound  ErrInstanceExpired  ErrReadOnly, ErrProtected, ErrInUse
//	CancelKeyDeletion                ErrState          ErrState       ErrState         as its facts say    ErrNotFound  as by itself        ErrReadOnly
//	SetDeletionProtection            ok                ok             ok               ErrPendingDeletion  ErrNotFound  ErrInstanceExpired  ErrReadOnly
//	AddDependent                     ok                ok             ok               ErrPendingDeletion  ErrNotFound  ErrInstanceExpired  ErrReadOnly
//	RemoveDependent                  ok                ok             ok               ErrPendingDeletion  ErrNotFound  ErrInstanceExpired  ErrReadOnly
//	SetBrownout                      ErrPendingImport  ok             ErrDisabled      ErrPendingDeletion  ErrNotFound  ErrInstanceExpired  ErrReadOnly
//	RotateKey                        ErrPendingImport  ok             ErrDisabled      ErrPendingDeletion  ErrNotFound  ErrInstanceExpired  ErrReadOnly, ErrOrigin unless KMS, ErrUsage unless AES
//	UpdateRotationPolicy             ErrPendingImport  ok             ErrDisabled      ErrPendingDeletion  ErrNotFound  ErrInstanceExpired  ErrReadOnly, ErrOrigin unless KMS, ErrUsage unless AES
//	RetireKeyVersions                ErrState          ok             ok               ErrState            ErrNotFound  ErrInstanceExpired  ErrReadOnly, ErrOrigin unless KMS, ErrUsage unless AES, ErrProtected
//	CancelRetirement                 ErrState          ok             ok               ok                  ErrNotFound  as by itself        ErrReadOnly, ErrOrigin unless KMS, ErrUsage unless AES
//	GetParametersForImport           ok                ok             ok               ok                  ErrNotFound  ErrInstanceExpired  ErrReadOnly, ErrOrigin unless EXTERNAL
//	ImportKeyMaterial                as its facts say  ok             ok               ErrState            ErrNotFound  ErrInstanceExpired  ErrReadOnly, ErrOrigin unless EXTERNAL
//	DeleteKeyMaterial                ok                PendingImport  PendingImport    ok                  ErrNotFound  ErrInstanceExpired  ErrReadOnly, ErrOrigin unless EXTERNAL, ErrProtected
//	SetDescription                   ok                ok             ok               ErrPendingDeletion  ErrNotFound  ErrInstanceExpired  ErrReadOnly
//	SetTags                          ok                ok             ok               ErrPendingDeletion  ErrNotFound  ErrInstanceExpired  ErrReadOnly
//	CreateAlias                      ok                ok             ok               ErrPendingDeletion  ErrNotFound  ErrInstanceExpired  ErrReadOnly
//	UpdateAlias                      ok                ok             ok               ErrPendingDeletion  ErrNotFound  ErrInstanceExpired  ErrReadOnly
//	DeleteAlias                      ok                ok             ok               ok                  ErrNotFound  as by itself        ErrReadOnly
//
// ScheduleKeyDeletion is refused as well while deletion protection is on, of the key or of its
// instance (ErrProtected), and while something was registered as depending on the key (ErrInUse).
// DeleteKeyMaterial and RetireKeyVersions are refused by protection, too, unless they are forced.
//
// The last column names what a key is refused with whatever its state. It is ErrReadOnly if the
// key belongs to a service or to another system, ErrOrigin if its material has the other origin,
// ErrUsage if its spec or usage is another one, and ErrBrownout for a share of uses during a
// brown-out.
//
// # Errors
//
// Every refusal matches a condition, as errors.Is(err, kms.ErrDisabled), holds its facts
// in a type, as *PendingDeletionError, and has a code (Code) and a hint of what to do
// (Hint). Nothing had changed when one is returned, but for an UnavailableError that
// says that the outcome is unknown. It matches ErrUnavailable if the key store or the provider did
// not answer, and ErrCanceled if the context of the call has ended. No error holds a secret.
//
// # What it does not do
//
// It does not recall what it handed out: a data key that a program keeps in memory goes on
// working. It finds a record that was replaced by an older copy only if this Manager had read or
// written a later one (ErrTampered); a Manager that is opened afterwards takes an old copy of the
// key store for the key store. It does not clear all of its memory: keys in use stay there, and
// copies that libraries made may outlast a purge. It does not hide how many keys there are, their
// descriptions or their dates from readers of the store. It defends no process against itself.
package kms
