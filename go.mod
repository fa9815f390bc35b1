module github.com/keyhold/kms

go 1.26
