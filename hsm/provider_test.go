//go:build cgo

package hsm_test

import (
	"testing"

	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/provider/providertest"
)

func TestProvider(t *testing.T) {
	token := anyToken(t).open(t)
	providertest.Run(t, func(*testing.T) provider.Provider { return token })
}
