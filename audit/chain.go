package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/statelatch/statelatch"
)

// Head names one event of a log, the last as far as its writer knew. It is stored beside the events, so that a tail
// that was cut off is missed. The zero Head stands before the first event.
type Head struct {
	Chain string `json:"chain"` // that of the event
	Seq   uint64 `json:"seq"`   // the event's; 0: none
	Hash  string `json:"hash"`  // SHA-256 of the event's bytes, in hex
}

var zeroHash = strings.Repeat("0", 2*sha256.Size)

func hashOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// next links e to h: the bytes to store, signed if there are keys, and the head that they make.
func (h Head) next(e Event, keys ...[]byte) ([]byte, Head) {
	e = e.clean()
	e.V, e.Chain, e.Seq, e.Prev, e.MAC = version, h.Chain, h.Seq+1, h.Hash, ""
	if h.Chain == "" {
		e.Chain = NewID()
	}
	if h.Seq == 0 {
		e.Prev = zeroHash
	}
	raw, err := json.Marshal(e)
	if err != nil {
		// Only a year outside 0..9999 can get here.
		panic(fmt.Sprintf("audit: an event always encodes: %v", err))
	}
	raw = Keys(keys).sign(raw)
	return raw, Head{Chain: e.Chain, Seq: e.Seq, Hash: hashOf(raw)}
}

// headOf is the head that a stored event makes.
func headOf(raw []byte) (Head, error) {
	e, err := Parse(raw)
	return Head{Chain: e.Chain, Seq: e.Seq, Hash: hashOf(raw)}, err
}

// storedHead is Head as it is stored.
type storedHead struct {
	V int `json:"v"`
	Head
}

func (h Head) marshal() []byte {
	raw, err := json.Marshal(storedHead{version, h})
	if err != nil {
		panic(fmt.Sprintf("audit: a head always encodes: %v", err))
	}
	return raw
}

func parseHead(raw []byte) (Head, error) {
	var s storedHead
	if err := json.Unmarshal(raw, &s); err != nil {
		return Head{}, fmt.Errorf("%w audit head: %w", statelatch.ErrInvalid, err)
	}
	if s.V != version || s.Chain == "" || s.Seq == 0 || len(s.Hash) != len(zeroHash) {
		return Head{}, fmt.Errorf("%w audit head: v %d, chain %q, seq %d, hash %q", statelatch.ErrInvalid, s.V, s.Chain,
			s.Seq, s.Hash)
	}
	return s.Head, nil
}

// processChain links the events of a process that are sent to where nothing can be read back.
type processChain struct {
	keys Keys
	mu   sync.Mutex
	last Head
}

func (c *processChain) next(e Event) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	raw, head := c.last.next(e, c.keys...)
	c.last = head
	return raw
}
