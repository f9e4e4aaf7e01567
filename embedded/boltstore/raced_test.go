//go:build race

package boltstore

func init() { raced = true }
