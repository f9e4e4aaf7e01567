package fleet

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// nearListings is how many listing requests Near sends at most.
const nearListings = 4

// Near returns the keys of up to n states that are spelled nearly like key, where there is none, the nearest first. It
// looks beside key and then further up, in at most four listing requests of one page each, so in a large folder it may
// find nothing.
func Near(ctx context.Context, b bucket.Bucket, key string, n int) ([]string, error) {
	for _, prefix := range nearPrefixes(key) {
		distances := map[string]int{}
		left := maxPageSize
		for obj, err := range b.List(ctx, bucket.ListOptions{Prefix: prefix}) {
			if err != nil {
				return nil, err
			}
			if kind, _ := statelatch.ClassifyKey(obj.Key); kind == statelatch.KeyOther && obj.Key != key {
				if d := distance(key, obj.Key); d <= max(2, len(key)/6) {
					distances[obj.Key] = d
				}
			}
			if left--; left == 0 {
				break
			}
		}
		if len(distances) > 0 {
			var keys []string
			for k := range distances {
				keys = append(keys, k)
			}
			slices.SortFunc(keys, func(a, b string) int { return cmp.Or(distances[a]-distances[b], strings.Compare(a, b)) })
			return keys[:min(n, len(keys))], nil
		}
	}
	return nil, nil
}

// nearPrefixes are where a key like this one may be: in the same folder, then beside each folder above. There the first
// character counts as right, because one page must do.
func nearPrefixes(key string) []string {
	folder := key[:strings.LastIndexByte(key, '/')+1]
	prefixes := []string{folder}
	for folder != "" && len(prefixes) < nearListings {
		name := strings.LastIndexByte(strings.TrimSuffix(folder, "/"), '/') + 1
		_, first := utf8.DecodeRuneInString(folder[name:])
		prefixes = append(prefixes, folder[:name+first])
		folder = folder[:name]
	}
	if prefixes[0] == "" {
		_, first := utf8.DecodeRuneInString(key)
		prefixes = []string{key[:first]}
	}
	return prefixes
}

// distance is how many characters have to be added, removed, replaced or swapped with their neighbour to make b of a.
func distance(a, b string) int {
	from, to := []rune(a), []rune(b)
	before, last, row := []int(nil), make([]int, len(to)+1), make([]int, len(to)+1)
	for j := range last {
		last[j] = j
	}
	for i := range from {
		row[0] = i + 1
		for j := range to {
			change := last[j]
			if from[i] != to[j] {
				change++
			}
			row[j+1] = min(change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && from[i] == to[j-1] && from[i-1] == to[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, make([]int, len(to)+1)
	}
	return last[len(to)]
}
