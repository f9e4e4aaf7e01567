package state

// SpoolAbove sets how many bytes of a body are kept in memory.
func (s *Store) SpoolAbove(n int64) { s.spoolAbove = n }

// Metadata is p as it is kept.
func (p Provenance) Metadata() map[string]string { return p.Metadata() }

// Recorded is what metadata says.
var Recorded = recorded
