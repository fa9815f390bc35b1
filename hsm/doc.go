// Package hsm is the place of the provider for hardware security modules. There is none
// yet: the package has no code, and nothing should import it.
//
// The provider to come speaks PKCS#11 through crypto11, at the path where it is
// maintained, github.com/ThalesGroup/crypto11. Until then hardware keys are for those who
// bring their own: kms.Config.HSM takes any provider.Provider, and package
// provider/providertest proves one.
package hsm
