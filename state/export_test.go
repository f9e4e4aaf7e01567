package state

// SpoolAbove sets how many bytes of a body are kept in memory.
func (s *Store) SpoolAbove(n int64) { s.spoolAbove = n }

// Recorded is what metadata says.
var Recorded = recorded
