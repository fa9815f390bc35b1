package hsm

import (
	"fmt"

	"github.com/keyhold/kms/provider"
)

// A code is a return value of PKCS#11 that means something else than that the token is not to
// be had, or that has to be named.
type code struct {
	name    string
	meaning error
}

// codes are the return values that are known (PKCS#11 3.0, 6.1). All others mean
// provider.ErrUnavailable, and so do those that modules return for want of a better one:
// CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED and CKR_HOST_MEMORY are looked into where they are the
// answer to a ciphertext.
var codes = map[uint]code{
	0x40: {"CKR_ENCRYPTED_DATA_INVALID", provider.ErrCiphertext},
	0x41: {"CKR_ENCRYPTED_DATA_LEN_RANGE", provider.ErrCiphertext},
	0x20: {"CKR_DATA_INVALID", provider.ErrCiphertext},
	0xC0: {"CKR_SIGNATURE_INVALID", provider.ErrCiphertext},
	0x42: {"CKR_AEAD_DECRYPT_FAILED", provider.ErrCiphertext},

	0xA0: {"CKR_PIN_INCORRECT", ErrCredentials},
	0xA1: {"CKR_PIN_INVALID", ErrCredentials},
	0xA2: {"CKR_PIN_LEN_RANGE", ErrCredentials},
	0xA3: {"CKR_PIN_EXPIRED", ErrCredentials},
	0xA4: {"CKR_PIN_LOCKED", ErrCredentials},

	0x70:  {"CKR_MECHANISM_INVALID", provider.ErrUnsupported},
	0x71:  {"CKR_MECHANISM_PARAM_INVALID", provider.ErrUnsupported},
	0x54:  {"CKR_FUNCTION_NOT_SUPPORTED", provider.ErrUnsupported},
	0x62:  {"CKR_KEY_SIZE_RANGE", provider.ErrUnsupported},
	0x63:  {"CKR_KEY_TYPE_INCONSISTENT", provider.ErrUnsupported},
	0x130: {"CKR_DOMAIN_PARAMS_INVALID", provider.ErrUnsupported},

	0x68: {"CKR_KEY_FUNCTION_NOT_PERMITTED", ErrKeyPolicy},
	0xD1: {"CKR_TEMPLATE_INCONSISTENT", ErrKeyPolicy},
	0x13: {"CKR_ATTRIBUTE_VALUE_INVALID", ErrKeyPolicy},
	0x10: {"CKR_ATTRIBUTE_READ_ONLY", ErrKeyPolicy},

	0x02:  {"CKR_HOST_MEMORY", provider.ErrUnavailable},
	0x05:  {"CKR_GENERAL_ERROR", provider.ErrUnavailable},
	0x06:  {"CKR_FUNCTION_FAILED", provider.ErrUnavailable},
	0x07:  {"CKR_ARGUMENTS_BAD", provider.ErrUnavailable},
	0x11:  {"CKR_ATTRIBUTE_SENSITIVE", provider.ErrUnavailable},
	0x12:  {"CKR_ATTRIBUTE_TYPE_INVALID", provider.ErrUnavailable},
	0x21:  {"CKR_DATA_LEN_RANGE", provider.ErrUnavailable},
	0x30:  {"CKR_DEVICE_ERROR", provider.ErrUnavailable},
	0x31:  {"CKR_DEVICE_MEMORY", provider.ErrUnavailable},
	0x32:  {"CKR_DEVICE_REMOVED", provider.ErrUnavailable},
	0x60:  {"CKR_KEY_HANDLE_INVALID", provider.ErrUnavailable},
	0x82:  {"CKR_OBJECT_HANDLE_INVALID", provider.ErrUnavailable},
	0x90:  {"CKR_OPERATION_ACTIVE", provider.ErrUnavailable},
	0x91:  {"CKR_OPERATION_NOT_INITIALIZED", provider.ErrUnavailable},
	0xB0:  {"CKR_SESSION_CLOSED", provider.ErrUnavailable},
	0xB1:  {"CKR_SESSION_COUNT", provider.ErrUnavailable},
	0xB3:  {"CKR_SESSION_HANDLE_INVALID", provider.ErrUnavailable},
	0xE0:  {"CKR_TOKEN_NOT_PRESENT", provider.ErrUnavailable},
	0xE1:  {"CKR_TOKEN_NOT_RECOGNIZED", provider.ErrUnavailable},
	0x101: {"CKR_USER_NOT_LOGGED_IN", provider.ErrUnavailable},
	0x150: {"CKR_BUFFER_TOO_SMALL", provider.ErrUnavailable},
	0x190: {"CKR_CRYPTOKI_NOT_INITIALIZED", provider.ErrUnavailable},
}

func codeName(c uint) string {
	if known, ok := codes[c]; ok {
		return known.name
	}
	return fmt.Sprintf("return value 0x%X", c)
}
