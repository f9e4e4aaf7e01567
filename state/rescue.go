package state

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// maxRescues bounds the states that one run can save.
const maxRescues = 100

// SaveRescue keeps a state that could not be written, at "<key>.rescue/<run>" beside it, or with "-2", "-3" and so on
// appended where another body has that name. It replaces nothing, and asked again with the same body it finds its own.
// Any bytes will do. By is recorded with it. Characters of run other than letters, digits, '.', '_' and '-' become '-'.
//
//	nil           body is stored at key
//	ErrAmbiguous  it may be stored at key, or may be yet
//	other         it is not stored
func (s *Store) SaveRescue(
	ctx context.Context, ref statelatch.Ref, run string, body io.ReadSeeker, by Provenance,
) (key string, err error) {
	if err := s.admit(ref); err != nil {
		return "", err
	}
	if run == "" {
		return "", fmt.Errorf("%w run %q: it is empty", statelatch.ErrInvalid, run)
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return "", fmt.Errorf("%w state body: %w", statelatch.ErrInvalid, err)
	}
	is, err := examine(body)
	if err != nil {
		return "", fmt.Errorf("%w state body: %w", statelatch.ErrInvalid, err)
	}
	name := strings.Map(keySafe, run)
	for n := 1; n <= maxRescues; n++ {
		place := statelatch.Ref{Bucket: ref.Bucket, Key: ref.RescuePrefix() + name}
		if n > 1 {
			place.Key += fmt.Sprintf("-%d", n)
		}
		is.Provenance = by
		out := s.put(place, body, is, is.sameBytes).settle(ctx, bucket.IfAbsent)
		switch out.end {
		case done:
			return place.Key, nil
		case superseded:
			if out.damage != nil {
				return place.Key, fmt.Errorf("save state to %s: %w", place, out.damage)
			}
			continue
		case refused:
			continue
		case unknown:
			return place.Key, fmt.Errorf("save state to %s: %w", place, out.err)
		default:
			return "", fmt.Errorf("save state to %s: %w", place, out.err)
		}
	}
	return "", fmt.Errorf("save state of %s: %w: run %q has saved %d others already", ref, statelatch.ErrInvalid, run,
		maxRescues)
}

// keySafe replaces what a key or a shell could misunderstand.
func keySafe(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
		return r
	}
	return '-'
}
