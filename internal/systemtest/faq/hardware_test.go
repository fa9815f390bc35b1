package faq_test

import (
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/keyhold/kms"
	"github.com/keyhold/kms/hsm"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/internal/testtoken"
	"github.com/stretchr/testify/require"
)

// The commands about keys in hardware. The token is SoftHSM's, and who looks into it from outside
// is pkcs11-tool, which knows the PIN.

// hardware is the token of a conversation, if it has one.
type hardware struct {
	testtoken.Token
	open *hsm.Token
	back func()
}

func (f *faq) openToken(t *testing.T, _ *datadriven.TestData) (string, error) {
	f.hardware.Token, f.hardware.open = kit.OpenToken(t)
	m, err := kms.Open(t.Context(), f.k.ConfigWith(func(c *kms.Config) { c.HSM = f.hardware.open }))
	if err != nil {
		return "", err
	}
	f.m = m
	return "logged in", nil
}

func (f *faq) createInToken(t *testing.T, d *datadriven.TestData) (string, error) {
	key, err := f.m.CreateKey(t.Context(), &kms.CreateKeyOptions{Protection: kms.ProtectionHSM, Spec: kms.Spec(word(d, "spec"))})
	if err != nil {
		return "", err
	}
	f.name(first(t, d), &faqKey{id: key.ID})
	return told(key), nil
}

func (f *faq) pkcs11Tool(t *testing.T, args ...string) (string, error) {
	program, err := exec.LookPath("pkcs11-tool")
	require.NoError(t, err, "this conversation needs pkcs11-tool: apt-get install opensc")
	args = append([]string{"--module", f.hardware.Module, "--token-label", f.hardware.Label, "--login", "--pin", f.hardware.PIN}, args...)
	out, err := exec.CommandContext(t.Context(), program, args...).Output()
	return string(out), err
}

var toolLine = regexp.MustCompile(`(?m)^(Secret|Private|Public) Key Object|label: +(.*)$|Usage: +(.*)$|Access: +(.*)$`)

// lookInto is what the token says of the secret and private keys of the service.
func (f *faq) lookInto(t *testing.T, _ *datadriven.TestData) (string, error) {
	out, err := f.pkcs11Tool(t, "--list-objects")
	require.NoError(t, err)
	var keys []string
	var label, usage, class string
	for _, m := range toolLine.FindAllStringSubmatch(out, -1) {
		switch {
		case m[1] != "":
			class = m[1]
		case m[2] != "":
			label = m[2]
		case m[3] != "":
			usage = m[3]
		case m[4] != "" && class != "Public" && strings.HasPrefix(label, "keyhold:"):
			keys = append(keys, fmt.Sprintf("%s\n  may: %s\n  is: %s", f.named.Replace(label), usage, m[4]))
		}
	}
	slices.Sort(keys)
	if len(keys) == 0 {
		return "no key", nil
	}
	return strings.Join(keys, "\n"), nil
}

func (f *faq) takeOut(t *testing.T, d *datadriven.TestData) (string, error) {
	label := "keyhold:" + f.keys[first(t, d)].id + "/1"
	out, err := f.pkcs11Tool(t, "--read-object", "--type", "secrkey", "--label", label)
	if err == nil {
		return "the key: " + out, nil
	}
	return "the token refuses", nil
}

func (f *faq) takeAway(t *testing.T, _ *datadriven.TestData) (string, error) {
	f.hardware.back = kit.TakeToken(t, f.hardware.Token, f.hardware.open)
	return "the token is out of reach", nil
}

func (f *faq) bringBack(*testing.T, *datadriven.TestData) (string, error) {
	f.hardware.back()
	return "the token is back", nil
}
