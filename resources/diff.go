package resources

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// The kinds of changes of an object.
const (
	Added    = "added"    // it is only in the newer state
	Removed  = "removed"  // it is only in the older state
	Changed  = "changed"  // an attribute is another, or it became tainted or is no longer
	Replaced = "replaced" // changed, and its attribute "id" is another one
	Moved    = "moved"    // the same in every attribute, at another address
)

// Diff is what differs between two states.
type Diff struct {
	Objects []Change       // by address
	Outputs []ValueChange  // by name
	Count   map[string]int // of the objects, by kind
}

// Equal reports whether the states have the same content. Their serials and other parts of the header, the health of
// checks and what providers store for themselves may differ.
func (d Diff) Equal() bool { return len(d.Objects) == 0 && len(d.Outputs) == 0 }

// Change is what became of one object.
type Change struct {
	Kind    string // one of the constants above
	Address string // with the key of a deposed object ([Object.Label])
	From    string // the address before, of one that moved
	// Tainted and Untainted: it became tainted, or is no longer.
	Tainted, Untainted bool
	Attributes         []ValueChange // of one that was changed or replaced

	place, fromPlace string // Address and From with keys that are secrets
}

// Revealed is the change with secrets shown.
func (c Change) Revealed() Change {
	c.Address, c.From = c.place, c.fromPlace
	c.Attributes = revealValues(c.Attributes)
	return c
}

func revealValues(values []ValueChange) []ValueChange {
	shown := slices.Clone(values)
	for i, v := range shown {
		shown[i].Old, shown[i].New = Reveal(v.Old), Reveal(v.New)
	}
	return shown
}

// Revealed is the diff with secrets shown.
func (d Diff) Revealed() Diff {
	d.Objects = slices.Clone(d.Objects)
	for i, c := range d.Objects {
		d.Objects[i] = c.Revealed()
	}
	d.Outputs = revealValues(d.Outputs)
	return d
}

// ValueChange is what became of one value.
type ValueChange struct {
	Path string // of an attribute: network[0].tags["a b"]; or the name of an output
	// Old and New are value trees that differ, a [Secret] in both also if its content does.
	Old, New       any
	Added, Removed bool // there was no value before, or is none now
}

// Compare finds what changed from a to b. Both must have content: not encrypted.
func Compare(a, b File) Diff {
	as := func(o Object) (Object, error) { return o, nil }
	d, _ := compare(a, b, as, as)
	return d
}

// loader completes an object with its attributes.
type loader func(Object) (Object, error)

func compare(a, b File, loadOld, loadNow loader) (Diff, error) {
	objects, err := changes(a.Objects, b.Objects, loadOld, loadNow)
	d := Diff{Objects: objects, Count: map[string]int{}}
	for _, c := range d.Objects {
		d.Count[c.Kind]++
	}
	old, now := outputs(a), outputs(b)
	d.Outputs = compareMaps(nil, old, now, func(name string) string { return name })
	return d, err
}

func outputs(f File) map[string]any {
	m := map[string]any{}
	for _, o := range f.Outputs {
		m[o.Name] = o.Value
	}
	return m
}

// changes walks two lists in the same order.
func changes(old, now []Object, loadOld, loadNow loader) ([]Change, error) {
	var gone, fresh []Object
	var found []Change
	place := map[string]Object{} // of a change, in the order of addresses
	add := func(c Change, o Object) {
		o.Attributes = nil
		place[c.place] = o
		found = append(found, c)
	}
	at := make(map[string]int, len(old))
	for i, o := range old {
		at[o.place()] = i
	}
	for _, o := range now {
		i, ok := at[o.place()]
		delete(at, o.place())
		if !ok {
			fresh = append(fresh, o)
			continue
		}
		before := old[i]
		if o.stands.to > 0 && before.stands.sum == o.stands.sum && before.Tainted == o.Tainted &&
			before.Provider == o.Provider {
			continue
		}
		before, oldErr := loadOld(before)
		o, err := loadNow(o)
		if err = cmp.Or(oldErr, err); err != nil {
			return nil, err
		}
		if c, differs := compareObject(before, o); differs {
			add(c, o)
		}
	}
	for _, o := range old {
		if _, left := at[o.place()]; left {
			gone = append(gone, o)
		}
	}
	m := moves{by: map[[sha256.Size]byte]*pair{}}
	for i := range gone {
		o, err := loadOld(gone[i])
		if err != nil {
			return nil, err
		}
		gone[i] = m.add(o, false)
	}
	for i := range fresh {
		o, err := loadNow(fresh[i])
		if err != nil {
			return nil, err
		}
		fresh[i] = m.add(o, true)
	}
	origin := m.origins()
	from := map[string]bool{}
	for _, o := range fresh {
		c := Change{Kind: Added, Address: o.Label(), Tainted: o.Tainted, place: o.place()}
		if before, ok := origin[o.place()]; ok {
			c.Kind, c.From, c.fromPlace = Moved, before.Label(), before.place()
			from[before.place()] = true
		}
		add(c, o)
	}
	for _, o := range gone {
		if !from[o.place()] {
			add(Change{Kind: Removed, Address: o.Label(), place: o.place()}, o)
		}
	}
	slices.SortStableFunc(found, func(a, b Change) int { return compareObjects(place[a.place], place[b.place]) })
	return found, nil
}

// moves pairs objects that vanished with those that appeared, where each is the only one of its content.
type moves struct{ by map[[sha256.Size]byte]*pair }

type pair struct{ from, to []Object }

// add takes in an object with its attributes, and returns it without them.
func (m moves) add(o Object, appeared bool) Object {
	alone := o
	alone.Attributes = nil
	if o.Deposed != "" || o.ID() == "" {
		return alone
	}
	content := sha256.Sum256(fmt.Appendf(nil, "%q %q %v %s", o.Mode, o.Type, o.Tainted, Text(Reveal(o.Attributes), 0)))
	p := m.by[content]
	if p == nil {
		p = &pair{}
		m.by[content] = p
	}
	if appeared {
		p.to = append(p.to, alone)
	} else {
		p.from = append(p.from, alone)
	}
	return alone
}

func (m moves) origins() map[string]Object {
	origin := map[string]Object{}
	for _, p := range m.by {
		if len(p.from) == 1 && len(p.to) == 1 {
			origin[p.to[0].place()] = p.from[0]
		}
	}
	return origin
}

func compareObject(old, now Object) (Change, bool) {
	c := Change{
		Kind: Changed, Address: now.Label(), place: now.place(), Tainted: now.Tainted && !old.Tainted,
		Untainted:  old.Tainted && !now.Tainted,
		Attributes: compareValues(nil, "", old.Attributes, now.Attributes),
	}
	if old.Provider != now.Provider {
		c.Attributes = append(c.Attributes, ValueChange{Path: "(provider)", Old: old.Provider, New: now.Provider})
	}
	if now.Mode == "managed" && old.ID() != now.ID() && old.ID() != "" && now.ID() != "" {
		c.Kind = Replaced
	}
	return c, len(c.Attributes) > 0 || c.Tainted || c.Untainted
}

// compareValues appends what differs to found, at the deepest places that do.
func compareValues(found []ValueChange, path string, old, now any) []ValueChange {
	if reflect.DeepEqual(Reveal(old), Reveal(now)) {
		return found
	}
	switch o := old.(type) {
	case map[string]any:
		if n, ok := now.(map[string]any); ok {
			return compareMaps(found, o, n, func(key string) string { return member(path, key) })
		}
	case []any:
		if n, ok := now.([]any); ok {
			return compareLists(found, path, o, n)
		}
	}
	_, oldSecret := old.(Secret)
	_, newSecret := now.(Secret)
	if oldSecret != newSecret { // it is the same place: what is secret once is so on both sides
		old, now = Secret{old}, Secret{now}
	}
	return append(found, ValueChange{Path: path, Old: old, New: now})
}

func compareMaps(found []ValueChange, old, now map[string]any, path func(string) string) []ValueChange {
	keys := map[string]bool{}
	for k := range old {
		keys[k] = true
	}
	for k := range now {
		keys[k] = true
	}
	sorted := make([]string, 0, len(keys))
	for k := range keys {
		sorted = append(sorted, k)
	}
	slices.Sort(sorted)
	for _, k := range sorted {
		o, had := old[k]
		n, has := now[k]
		switch {
		case had && has:
			found = compareValues(found, path(k), o, n)
		case had:
			found = append(found, ValueChange{Path: path(k), Old: o, Removed: true})
		default:
			found = append(found, ValueChange{Path: path(k), New: n, Added: true})
		}
	}
	return found
}

// compareLists leaves out what the lists begin and end with alike, so that one element more, in a set for example, does
// not change all behind it. Indexes are those of the new list, of removed elements those of the old one.
func compareLists(found []ValueChange, path string, old, now []any) []ValueChange {
	equal := func(a, b any) bool { return reflect.DeepEqual(Reveal(a), Reveal(b)) }
	head := 0
	for head < min(len(old), len(now)) && equal(old[head], now[head]) {
		head++
	}
	tail := 0
	for tail < min(len(old), len(now))-head && equal(old[len(old)-1-tail], now[len(now)-1-tail]) {
		tail++
	}
	for i := head; i < max(len(old), len(now))-tail; i++ {
		at := element(path, i)
		switch {
		case i < len(old)-tail && i < len(now)-tail:
			found = compareValues(found, at, old[i], now[i])
		case i < len(old)-tail:
			found = append(found, ValueChange{Path: at, Old: old[i], Removed: true})
		default:
			found = append(found, ValueChange{Path: at, New: now[i], Added: true})
		}
	}
	return found
}

// member is the path of a map's or object's member.
func member(path, key string) string {
	plain := key != "" && !strings.ContainsFunc(key, func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	switch {
	case !plain:
		return path + "[" + quoteHCL(key) + "]"
	case path == "":
		return key
	}
	return path + "." + key
}

func element(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
