// Package statelatch is the vocabulary of the project: the address of a state
// ([Ref]), the content of its lock object ([LockInfo]), the header of a state
// body ([StateHeader]) and the kinds of error that everything above reports.
//
// It does no I/O and knows no SDK. Every object key, lock key and DynamoDB ID of
// the project is formed in ref.go, their suffixes included, and every byte of a
// lock object in lockinfo.go, so that compatibility with terraform and tofu is
// decided in two files.
package statelatch
