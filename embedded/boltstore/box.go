package boltstore

import (
	"crypto/cipher"
	"fmt"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"
)

// box seals what the database holds: bbolt gives pages free without clearing them, so what was
// deleted stays in the file for as long as nothing needs the page. Only names (of buckets, keys
// and uploads) are in the clear, because the tables are sorted by them.
//
// A value is bound to its table and its key. XChaCha20 has room for a random nonce for each.
type box struct{ aead cipher.AEAD }

// sealedMark is the first byte of a sealed value. The documents of format 1, which were not sealed, begin with others.
const sealedMark = 1

func newBox(masterKey []byte) (*box, error) {
	key, err := derive(masterKey, nil, purposeRecord)
	if err != nil {
		return nil, err
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	return &box{aead}, nil
}

func (b *box) seal(table, key, plain []byte) []byte {
	out := make([]byte, 1, 1+b.aead.NonceSize()+len(plain)+b.aead.Overhead())
	out[0] = sealedMark
	out = append(out, randomBytes(b.aead.NonceSize())...)
	return b.aead.Seal(out, out[1:], plain, place(table, key))
}

func (b *box) open(table, key, data []byte) ([]byte, error) {
	if len(data) == 0 || data[0] != sealedMark {
		return data, nil
	}
	data = data[1:]
	n := b.aead.NonceSize()
	if len(data) < n {
		return nil, damaged("record %q of table %s is cut", key, table)
	}
	plain, err := b.aead.Open(nil, data[:n], data[n:], place(table, key))
	if err != nil {
		return nil, damaged("record %q of table %s: %v", key, table, err)
	}
	return plain, nil
}

func place(table, key []byte) []byte { return slices.Concat(table, []byte{0}, key) }
