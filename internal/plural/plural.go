// Package plural counts things in words.
package plural

import "strconv"

// Of returns "1 lock" or "2 locks" for the noun "lock".
func Of[N int | int32 | int64](n N, noun string) string {
	s := strconv.FormatInt(int64(n), 10) + " " + noun
	if n != 1 {
		s += "s"
	}
	return s
}
