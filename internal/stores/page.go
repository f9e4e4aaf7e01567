package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"unicode/utf8"
)

//go:embed page.md.tmpl
var pageTemplate string

// width is where prose on the page is broken, in characters.
const width = 110

// explanation is what a reader learns about one check of the probe.
type explanation struct {
	Name, Need string // as in the probe's output; Need is its required_for
	Short      string // for the lists of failures
	IfItFails  string
}

// explanations cover every check of "statelatch probe", in its order.
var explanations = []explanation{
	{"etag", "cas", "one strong ETag", "No condition can name a version of an object. Often a proxy that compresses or rewrites answers: go round it."},
	{"create", "cas", "create only if absent", "Two runs can hold one lock, with Terraform's `use_lockfile` too, and nothing fails until they overwrite each other. " +
		"If the store answers with an error instead, that harms nobody, but nothing can be locked."},
	{"compare-and-swap", "cas", "replace only this version", "A state write cannot be guarded, a lease can be neither renewed nor lost safely."},
	{"compare-and-swap-absent", "cas", "replace nothing", "A late renewal brings back a lock that was removed."},
	{"conditional-delete", "full", "delete only this version", "A release can remove a lock that somebody else took in between. Releases are weak (tier `cas`)."},
	{"create-after-delete", "cas", "create again after a delete", "A state can be locked only once, most often because a delete marker counts as an object. Try an unversioned bucket."},
	{"clock", "", "clocks agree", "The age of locks is off by as much. Set the clocks of the store's machines."},
	{"race/create", "cas", "one winner among creators", "Right one at a time, wrong at the same time: several runs get one lock. No sequential test finds this."},
	{"race/create-after-delete", "cas", "one winner after a delete", "As above, when a lock has just been released."},
	{"race/compare-and-swap", "cas", "one winner among writers", "A state write that was reported as done can be overwritten by another one that was, too."},
	{"race/compare-and-delete", "full", "one winner among deleters", "Two clients both believe that they released the lock. Releases are weak."},
	{"race/replace-against-delete", "full", "a replace or a delete wins, not both", "A release can remove a lock that was just renewed or taken over. Releases are weak."},
	{"race/delete-against-create", "full", "a delete takes nobody else's object", "A release can remove the lock of the client that came next. Releases are weak."},
	{"race/torn-reads", "", "whole reads", "Who reads a state while it is written may get a mixture of two. Read states under their lock only, plans included."},
	{"engine-writes", "", "engines can write", "Terraform or OpenTofu can neither lock nor write: most often the store does not know the checksums that they send behind the body over TLS. " +
		"`probe` says which argument and variable switch them off."},
}

func explain(name string) explanation {
	for _, e := range explanations {
		if e.Name == name {
			return e
		}
	}
	return explanation{Name: name, Short: name}
}

// renderPage gives docs/STORES.md.
func renderPage(d pageData) ([]byte, error) {
	links := &links{labels: map[string]string{}}
	page, err := template.New("page").Funcs(template.FuncMap{
		"measured": measuredTable, "failures": failures, "checks": checksTable,
		"priors":  func(ps []prior) string { return priorsTable(ps, links) },
		"notes":   notes,
		"sources": links.definitions,
	}).Parse(pageTemplate)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := page.Execute(&b, d); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func measuredTable(ms []measurement) string {
	rows := [][]string{{"store", "version", "date", "runs", "unversioned bucket", "versioned bucket"}}
	for _, m := range ms {
		versioned := m.NoVersions
		if m.Versioned != nil {
			versioned = "`" + m.Versioned.Tier + "`"
		}
		rows = append(rows, []string{m.Title, m.Version, m.Date, strconv.Itoa(m.Runs), "`" + m.Unversioned.Tier + "`", versioned})
	}
	return table(rows)
}

// failures lists what failed, store by store.
func failures(ms []measurement) string {
	var b strings.Builder
	for _, m := range ms {
		fmt.Fprintf(&b, "**%s** %s\n", m.Title, m.Version)
		b.WriteString(wrap("- ", "  ", "from: "+escape(m.Install)))
		b.WriteString(wrap("- ", "  ", "run: `"+m.Start+"`"))
		listFailures(&b, "unversioned", m.Unversioned)
		switch {
		case m.Versioned == nil:
		case len(m.Unversioned.with("failed")) > 0 && slices.EqualFunc(m.Unversioned.Checks, m.Versioned.Checks, sameOutcome):
			b.WriteString("- versioned: the same\n")
		default:
			listFailures(&b, "versioned", *m.Versioned)
		}
		b.WriteByte('\n')
	}
	return strings.TrimSuffix(b.String(), "\n\n")
}

func sameOutcome(a, b check) bool { return a.Name == b.Name && a.Outcome == b.Outcome }

func listFailures(b *strings.Builder, bucket string, r report) {
	failed, undecided := r.with("failed"), r.with("undecided")
	if len(failed)+len(undecided) == 0 {
		fmt.Fprintf(b, "- %s: every check passed\n", bucket)
		return
	}
	fmt.Fprintf(b, "- %s:\n", bucket)
	for _, c := range failed {
		b.WriteString(wrap("  - ", "    ", fmt.Sprintf("%s (`%s`): %s", explain(c.Name).Short, c.Name, escape(c.Evidence))))
	}
	if len(undecided) > 0 {
		var names []string
		for _, c := range undecided {
			names = append(names, "`"+c.Name+"`")
		}
		b.WriteString(wrap("  - ", "    ", "not decided: "+strings.Join(names, ", ")))
	}
}

func checksTable() string {
	var b strings.Builder
	for _, e := range explanations {
		item := fmt.Sprintf("`%s` (%s", e.Name, e.Short)
		switch e.Need {
		case "cas":
			item += "; without it tier `none`"
		case "full":
			item += "; without it tier `cas`"
		}
		b.WriteString(wrap("- ", "  ", item+"). "+e.IfItFails))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func priorsTable(ps []prior, links *links) string {
	rows := [][]string{{"store", "create", "swap", "conditional delete", "basis", "as of", "sources"}}
	mark := func(answer string) string {
		if answer == "ignored" {
			return "**ignored**"
		}
		return answer
	}
	for _, p := range ps {
		var sources []string
		for _, s := range p.Sources {
			sources = append(sources, links.to(s))
		}
		rows = append(rows, []string{p.Store, mark(p.Create), mark(p.Swap), mark(p.Delete), p.Basis, p.AsOf, strings.Join(sources, " ")})
	}
	return table(rows)
}

func notes(ps []prior) string {
	var b strings.Builder
	for _, p := range ps {
		if p.Note != "" {
			b.WriteString(wrap("- ", "  ", p.Store+": "+p.Note+"."))
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// links names addresses in short and remembers them for the end of the page.
type links struct {
	labels map[string]string // address by label
	order  []string
}

func (l *links) to(address string) string {
	base := shorten(address)
	for n := 1; ; n++ {
		label := base
		if n > 1 {
			label = fmt.Sprintf("%s (%d)", base, n)
		}
		switch l.labels[label] {
		case "":
			l.labels[label] = address
			l.order = append(l.order, label)
			return "[" + label + "]"
		case address:
			return "[" + label + "]"
		}
	}
}

func (l *links) definitions() string {
	var b strings.Builder
	for _, label := range slices.Sorted(slices.Values(l.order)) {
		fmt.Fprintf(&b, "[%s]: %s\n", label, l.labels[label])
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// shorten gives REPO#NUMBER for a thread on GitHub, else the host.
func shorten(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	if parts := strings.Split(u.Path, "/"); u.Host == "github.com" && len(parts) == 5 {
		return parts[2] + "#" + parts[4]
	}
	return strings.TrimPrefix(u.Host, "www.")
}

// table lays out rows, the first of them the header, so that they can be read raw, too. The last column is not padded.
func table(rows [][]string) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell), 3)
		}
	}
	var b strings.Builder
	for n, row := range rows {
		for i, cell := range row {
			b.WriteString("| " + cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)))
			}
			b.WriteByte(' ')
		}
		b.WriteString("|\n")
		if n == 0 {
			for i := range row {
				dashes := 3
				if i < len(row)-1 {
					dashes = widths[i]
				}
				b.WriteString("| " + strings.Repeat("-", dashes) + " ")
			}
			b.WriteString("|\n")
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// wrap breaks text at width; the first line starts with first, the others with rest.
func wrap(first, rest, text string) string {
	var b strings.Builder
	line := first
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
			line += word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width:
			b.WriteString(line + "\n")
			line = rest + word
		default:
			line += " " + word
		}
	}
	return b.String() + line + "\n"
}

// escape keeps a store's own words from being read as Markdown.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "<", "&lt;", "`", "'", "[", `\[`, "|", `\|`).Replace(s)
}
