package software_test

import (
	"testing"

	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/provider/providertest"
	"github.com/keyhold/kms/software"
)

func TestProvider(t *testing.T) {
	t.Parallel()
	providertest.Run(t, func(*testing.T) provider.Provider { return software.New() })
}
