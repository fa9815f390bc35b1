package kms_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert/yaml"
	"github.com/stretchr/testify/require"
)

// A workflow is what these tests read of a file in .github/workflows.
type workflow struct {
	On          map[string]any
	Permissions map[string]string
	Concurrency any
	Jobs        map[string]struct {
		Timeout   int `yaml:"timeout-minutes"`
		Container struct{ Image string }
		Strategy  struct{ Matrix map[string][]string }
		Steps     []struct{ Uses, Run string }
	}
}

// workflows parses the files of .github/workflows.
func workflows(t *testing.T) map[string]workflow {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(".github", "workflows", "*.yml"))
	require.NoError(t, err)
	found := map[string]workflow{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var w workflow
		require.NoError(t, yaml.Unmarshal(text, &w), file)
		found[filepath.Base(file)] = w
	}
	require.Contains(t, found, "ci.yml")
	require.Contains(t, found, "nightly.yml")
	return found
}

var (
	makeTarget = regexp.MustCompile(`\bmake ([a-z][\w-]*)`)
	ciScript   = regexp.MustCompile(`\.ci/[\w-]+`)
	pinned     = regexp.MustCompile(`@[0-9a-f]{40}$`)
)

// unknownCommands returns the make targets and the scripts of .ci that a text names and that are
// not there.
func unknownCommands(makefile, text string) (unknown []string) {
	for _, found := range makeTarget.FindAllStringSubmatch(text, -1) {
		if !regexp.MustCompile(`(?m)^([\w-]+ )*` + regexp.QuoteMeta(found[1]) + `( [\w-]+)*:( |$)`).MatchString(makefile) {
			unknown = append(unknown, "make "+found[1])
		}
	}
	for _, script := range ciScript.FindAllString(text, -1) {
		if info, err := os.Stat(script); err != nil || info.IsDir() {
			unknown = append(unknown, script)
		}
	}
	return unknown
}

// TestHouseWorkflows: the workflows parse, run what is there, may only read, end in time, and use
// actions at a fixed commit.
func TestHouseWorkflows(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile("Makefile")
	require.NoError(t, err)
	runs := ""
	for name, w := range workflows(t) {
		require.NotEmpty(t, w.On, name)
		require.NotNil(t, w.Concurrency, name)
		require.Equal(t, map[string]string{"contents": "read"}, w.Permissions, name)
		require.NotEmpty(t, w.Jobs, name)
		for title, job := range w.Jobs {
			where := name + ": " + title
			require.Positive(t, job.Timeout, "%s has no timeout-minutes", where)
			require.NotEmpty(t, job.Steps, where)
			for _, step := range job.Steps {
				require.True(t, (step.Uses == "") != (step.Run == ""), "%s: a step uses an action or runs a command", where)
				if step.Uses != "" {
					require.Regexp(t, pinned, step.Uses, "%s: an action is pinned by its commit", where)
				}
				require.Empty(t, unknownCommands(string(makefile), step.Run), where)
				runs += step.Run + "\n"
			}
		}
	}
	for _, wanted := range []string{".ci/run", ".ci/vuln", "make lint", "make golangci", "make fuzz", "make mutants"} {
		require.Contains(t, runs, wanted, "no workflow runs it")
	}
	require.Equal(t, []string{"make nothing", ".ci/nothing"}, unknownCommands(string(makefile), "make lint && make nothing && .ci/run && .ci/nothing"))
}

// TestHouseGoVersions: the test job has the Go version of go.mod, and the newest.
func TestHouseGoVersions(t *testing.T) {
	t.Parallel()
	var mod struct{ Go string }
	require.NoError(t, json.Unmarshal(goCommand(t, "mod", "edit", "-json"), &mod))
	language := strings.Join(strings.SplitN(mod.Go, ".", 3)[:2], ".") // 1.26 of 1.26.0
	all := workflows(t)
	job := all["ci.yml"].Jobs["test"]
	require.Contains(t, job.Container.Image, "golang:${{ matrix.go }}")
	require.Equal(t, []string{language, "latest"}, job.Strategy.Matrix["go"])
	for name, w := range all {
		for title, job := range w.Jobs {
			if version, ok := strings.CutPrefix(job.Container.Image, "golang:"); ok && !strings.HasPrefix(version, "$") {
				require.Equal(t, language, version, "%s: %s", name, title)
			}
		}
	}
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	require.Contains(t, string(readme), "Go "+language)
}

// TestHouseTemplates: what else GitHub reads parses, too, and each form has a name and fields with
// IDs of their own.
func TestHouseTemplates(t *testing.T) {
	t.Parallel()
	parsed := map[string]bool{}
	err := filepath.WalkDir(".github", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".yml" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var form struct {
			Name string
			Body []struct{ Type, ID string }
		}
		if err := yaml.Unmarshal(text, &form); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		parsed[filepath.ToSlash(path)] = true
		if filepath.Base(filepath.Dir(path)) != "ISSUE_TEMPLATE" || d.Name() == "config.yml" {
			return nil
		}
		var ids []string
		for _, field := range form.Body {
			if field.Type != "markdown" {
				require.NotEmpty(t, field.ID, path)
				require.False(t, slices.Contains(ids, field.ID), "%s has %s twice", path, field.ID)
				ids = append(ids, field.ID)
			}
		}
		require.NotEmpty(t, form.Name, path)
		require.NotEmpty(t, ids, path)
		return nil
	})
	require.NoError(t, err)
	for _, file := range []string{"dependabot.yml", "ISSUE_TEMPLATE/bug.yml", "ISSUE_TEMPLATE/feature.yml", "ISSUE_TEMPLATE/config.yml"} {
		require.True(t, parsed[".github/"+file], file)
	}
	require.FileExists(t, ".github/PULL_REQUEST_TEMPLATE.md")
}
