//go:build !cgo

package testtoken

const cgo = false
