package term

import (
	"cmp"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
)

// Near returns the candidates that word may have been meant for, the nearest first, three at most.
func Near(word string, candidates []string) []string {
	type near struct {
		text     string
		distance int
	}
	word = strings.ToLower(word)
	var found []near
	for _, c := range candidates {
		d := levenshtein.Distance(word, strings.ToLower(c), nil)
		switch {
		case swapped(word, strings.ToLower(c)):
			d = 1
		case len(word) >= 3 && strings.HasPrefix(c, word), len(c) >= 3 && strings.HasPrefix(word, c):
			d = min(d, 2)
		}
		if d <= min(3, max(1, len(word)/3)) || d == 2 && len(word) >= 4 {
			found = append(found, near{c, d})
		}
	}
	slices.SortStableFunc(found, func(a, b near) int { return cmp.Compare(a.distance, b.distance) })
	var texts []string
	for _, n := range found[:min(len(found), 3)] {
		if n.distance <= found[0].distance+1 {
			texts = append(texts, n.text)
		}
	}
	return texts
}

// swapped reports whether a is b with two neighbours exchanged, which is one slip of the fingers.
func swapped(a, b string) bool {
	if len(a) != len(b) || a == b {
		return false
	}
	i := 0
	for a[i] == b[i] {
		i++
	}
	return i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
}

// DidYouMean is a question about the nearest of the candidates, empty if nothing is near.
func DidYouMean(word string, candidates []string) string {
	near := Near(word, candidates)
	if len(near) == 0 {
		return ""
	}
	return "did you mean " + Or(near) + "?"
}

// Or lists words: "a, b or c".
func Or(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
