//go:build !linux

package memory_test

import "testing"

// TestNothingStaysBehind is for Linux.
func TestNothingStaysBehind(t *testing.T) {
	t.Skip("the memory of a process is searched through /proc, which Linux has")
}
