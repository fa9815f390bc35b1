//go:build !unix

package pgtest

import "syscall"

type owner struct{}

func findOwner() (*owner, error) { return nil, nil }

func (o *owner) attributes() *syscall.SysProcAttr { return nil }

func (o *owner) give(string) error { return nil }
