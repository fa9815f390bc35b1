package kms_test

import (
	"os"
	"testing"

	"github.com/keyhold/kms/internal/kit"
)

func TestMain(m *testing.M) { os.Exit(kit.Main(m)) }
