package term

import (
	"errors"
	"strconv"
	"time"

	"github.com/statelatch/statelatch/internal/lazyre"
)

const day = 24 * time.Hour

var days = lazyre.New(`^([+-]?)([0-9]+(?:\.[0-9]+)?)d(.*)$`)

var errDuration = errors.New("want a number with a unit, such as 90s, 10m, 2h, 1d or 1d12h")

// ParseDuration reads a duration as people write it: as [time.ParseDuration], and days first, such as 2d or 1d12h.
func ParseDuration(s string) (time.Duration, error) {
	m := days.FindStringSubmatch(s)
	if m == nil {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, errDuration
		}
		return d, nil
	}
	n, err := strconv.ParseFloat(m[2], 64)
	const most = float64(1<<63-1) / float64(day)
	if err != nil || n >= most {
		return 0, errDuration
	}
	d := time.Duration(n * float64(day))
	if rest := m[3]; rest != "" {
		more, err := time.ParseDuration(rest)
		if err != nil || more < 0 || rest[0] == '+' || d+more < d {
			return 0, errDuration
		}
		d += more
	}
	if m[1] == "-" {
		d = -d
	}
	return d, nil
}

// FormatDuration is d as ParseDuration reads it, the days apart and without units of zero: 30d, 1d12h, 1m30s.
func FormatDuration(d time.Duration) string {
	if d < 0 {
		return "-" + FormatDuration(-d)
	}
	s := ""
	if n := d / day; n > 0 {
		s, d = strconv.FormatInt(int64(n), 10)+"d", d%day
	}
	for _, unit := range [...]struct {
		size time.Duration
		name string
	}{{time.Hour, "h"}, {time.Minute, "m"}} {
		if n := d / unit.size; n > 0 {
			s, d = s+strconv.FormatInt(int64(n), 10)+unit.name, d%unit.size
		}
	}
	if d > 0 || s == "" {
		s += d.String() // below a minute: seconds or less
	}
	return s
}
