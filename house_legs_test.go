package kms_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// makeRegexp is a regular expression that the Makefile has in a variable.
func makeRegexp(t *testing.T, makefile, variable string) *regexp.Regexp {
	t.Helper()
	_, rest, found := strings.Cut(makefile, "\n"+variable+" := ")
	require.True(t, found, "the Makefile has no %s", variable)
	line, _, _ := strings.Cut(rest, "\n")
	if _, pattern, isFilter := strings.Cut(line, "grep -E '"); isFilter {
		line = strings.TrimSuffix(pattern, "'")
	} else if _, pattern, isFilter := strings.Cut(line, "grep -vE '"); isFilter {
		line = strings.TrimSuffix(pattern, "'")
	}
	return regexp.MustCompile(strings.ReplaceAll(line, "$$", "$"))
}

// topTests are the tests of each package, by its folder.
func topTests(t *testing.T) map[string][]string {
	tests := map[string][]string{}
	for _, f := range houseFiles(t) {
		tests[f.folder] = append(tests[f.folder], testsOf(f)...)
	}
	require.NotEmpty(t, tests["."])
	return tests
}

// TestHouseLegs: each test runs in exactly one of the legs race, plain and long of make test-all, and
// the lists of the Makefile name tests that exist.
func TestHouseLegs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("Makefile")
	require.NoError(t, err)
	makefile := string(text)
	long, notRacing, first := makeRegexp(t, makefile, "LONG"), makeRegexp(t, makefile, "NOT_RACING"), makeRegexp(t, makefile, "FIRST")
	plain := makeRegexp(t, makefile, "PLAIN")
	all := map[string]bool{}
	for folder, tests := range topTests(t) {
		isPlain := plain.MatchString(houseModule + "/" + folder)
		for _, name := range tests {
			all[name] = true
			legs := map[string]bool{
				"race":  !isPlain && !long.MatchString(name),
				"plain": isPlain && !long.MatchString(name) || folder == "." && first.MatchString(name),
				"long":  long.MatchString(name) && !first.MatchString(name),
			}
			var in []string
			for leg, runs := range legs {
				if runs {
					in = append(in, leg)
				}
			}
			require.Len(t, in, 1, "%s of %s runs in %v", name, folder, in)
			require.True(t, long.MatchString(name) || !notRacing.MatchString(name) && !first.MatchString(name),
				"%s is in NOT_RACING or FIRST, and not in LONG", name)
		}
	}
	for _, variable := range []string{"LONG", "NOT_RACING", "FIRST", "NOT_AGAIN"} {
		pattern := makeRegexp(t, makefile, variable).String()
		for name := range strings.SplitSeq(strings.Trim(pattern, "^()$"), "|") {
			require.True(t, all[name], "%s of the Makefile names %s, which does not exist", variable, name)
		}
	}
}

// testsOf are the tests of a file.
func testsOf(f houseFile) (names []string) {
	for _, name := range functions(f) {
		if f.test && strings.HasPrefix(name, "Test") && name != "TestMain" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
