package fleet

import "unicode/utf8"

// span is a range of keys: those with prefix that are behind after, up to and including until.
type span struct {
	prefix, after string
	until         string // empty: the last with prefix
	beside        string // a key before after that the span was cut off behind; empty: none
}

// split cuts the rest of s, behind the page from first to last, into what is kept and at most so many other spans. Of
// the keys to come it knows nothing but those, so it guesses; a wrong guess costs a request that finds nothing.
//
// Keys mostly begin alike, so what counts is the place where those to come begin to differ. As long as that may be
// one of many, the cuts are behind the folders and numbers that last lies in: the first key found behind a cut tells
// which place it is. Once it is known, the cuts share out the characters that may follow there.
//
// A cut is between two characters, never inside of one: stores refuse what is not UTF-8.
func (s span) split(first, last string, most int) (kept span, given []span) {
	if most <= 0 {
		return s, nil
	}
	kept = s
	at := []rune(last)
	cut := func(place int, c rune) {
		key := string(at[:place]) + string(c) // with U+FFFD for a number that is no character
		if len(given) == most || key <= last || kept.until != "" && key >= kept.until {
			return
		}
		given = append(given, span{prefix: s.prefix, after: key, until: kept.until, beside: last})
		kept.until = key
	}
	start, end := s.open(at)
	differ := s.differ(first, at, start)
	// Of the cuts, the last in the order of keys comes first.
	if places := ends(at, start, differ); len(places) > 0 {
		n := min(most, len(places))
		for i := range n {
			place := places[(2*i+1)*len(places)/(2*n)]
			cut(place, at[place]+1)
		}
		return kept, given
	}
	if differ > start {
		end = beyond
	}
	from := rune(' ')
	if differ < len(at) {
		from = at[differ]
	}
	for _, c := range share(from, end, most) {
		cut(differ, c)
	}
	return kept, given
}

// beyond is behind every character.
const beyond = utf8.MaxRune + 1

// open returns the first place where the keys of s behind at can differ from it, and the character that they do not
// pass there.
func (s span) open(at []rune) (place int, end rune) {
	if s.until == "" {
		return utf8.RuneCountInString(s.prefix), beyond
	}
	until := []rune(s.until)
	place = commonLen(at, until)
	switch {
	case place == len(until): // last is until, or has bytes that are no characters
		return place, beyond
	case place < len(at) && len(until) == place+1 && until[place] == at[place]+1:
		return place + 1, beyond // all that begin like at
	}
	return place, until[place]
}

// differ guesses the place where the keys to come differ from at: start, or behind it.
func (s span) differ(first string, at []rune, start int) int {
	place := commonLen([]rune(first), at)
	if s.beside != "" {
		seen := commonLen([]rune(s.beside), at)
		switch {
		case seen >= start:
			place = min(place, seen)
		case seen == start-1 && start < len(at) && kindOf(at[start]) != other && kindOf(at[seen]) != other:
			return start // a name that varies in one character mostly does so in the next
		}
	}
	return max(place, start)
}

// ends returns the places from start to before differ where a folder ends or a number goes on.
func ends(at []rune, start, differ int) []int {
	var places []int
	for p := start; p < differ; p++ {
		if at[p] == '/' || kindOf(at[p]) == digit && (p+1 == len(at) || at[p+1] != '/') {
			places = append(places, p)
		}
	}
	return places
}

// share chooses characters behind from and before end, the last one first, evenly among those of the same kind.
func share(from, end rune, most int) []rune {
	last := [...]rune{other: from + 1024, digit: '9', lower: 'z', upper: 'Z'}[kindOf(from)]
	if from == last && end == beyond {
		return nil
	}
	end = min(end, last+1)
	between := end - from - 1
	if between <= 0 {
		return []rune{from + 1}
	}
	if k := kindOf(from); k == lower || k == upper {
		// Names are words more often than random letters: most begin like this one, or nobody knows where.
		return []rune{from + (end-from)/2, from + 1}[max(0, 2-most):]
	}
	n := min(rune(most), between)
	var chosen []rune
	for i := n; i > 0; i-- {
		chosen = append(chosen, from+1+i*between/(n+1))
	}
	return chosen
}

func commonLen(a, b []rune) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// charKind is what sort of character stands in a name.
type charKind int

const (
	other charKind = iota
	digit
	lower
	upper
)

func kindOf(c rune) charKind {
	switch {
	case '0' <= c && c <= '9':
		return digit
	case 'a' <= c && c <= 'z':
		return lower
	case 'A' <= c && c <= 'Z':
		return upper
	}
	return other
}
