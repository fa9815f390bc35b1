package providertest_test

import (
	"testing"

	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/provider/providertest"
	"github.com/keyhold/kms/software"
)

// What the author of a provider writes, here with the software provider for theirs.
func ExampleRun() {
	TestProvider := func(t *testing.T) {
		providertest.Run(t, func(t *testing.T) provider.Provider {
			return software.New()
		})
	}
	_ = TestProvider
}
