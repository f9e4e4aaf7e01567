package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"text/template"

	"github.com/statelatch/statelatch/internal/term"
)

//go:embed page.md.tmpl
var pageTemplate string

// width is where items of lists on the page are broken.
const width = 120

// renderPage gives docs/STORES.md.
func renderPage(d pageData) ([]byte, error) {
	page, err := template.New("page").Funcs(template.FuncMap{
		"item": item, "escape": escape, "failures": failures, "answer": answer, "short": shorten,
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

// SameVersioned reports whether the versioned bucket fails as the other one does.
func (m measurement) SameVersioned() bool {
	return m.Versioned != nil && len(m.Unversioned.with("failed")) > 0 &&
		slices.EqualFunc(m.Unversioned.Checks, m.Versioned.Checks,
			func(a, b check) bool { return a.Name == b.Name && a.Outcome == b.Outcome })
}

// failures lists what failed on a bucket.
func failures(bucket string, r report) string {
	failed, undecided := r.with("failed"), r.with("undecided")
	if len(failed)+len(undecided) == 0 {
		return fmt.Sprintf("- %s: every check passed", bucket)
	}
	lines := []string{fmt.Sprintf("- %s:", bucket)}
	for _, c := range failed {
		lines = append(lines, item(fmt.Sprintf("  - `%s`: ", c.Name), escape(c.Evidence)))
	}
	if len(undecided) > 0 {
		var names []string
		for _, c := range undecided {
			names = append(names, "`"+c.Name+"`")
		}
		lines = append(lines, item("  - not decided: ", strings.Join(names, ", ")))
	}
	return strings.Join(lines, "\n")
}

// item is an item of a list.
func item(begin, text string) string {
	return term.Wrap(begin+strings.Join(strings.Fields(text), " "), width)
}

func answer(word string) string {
	if word == "ignored" {
		return "**ignored**"
	}
	return word
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

// escape keeps a store's own words from being read as Markdown.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "<", "&lt;", "`", "'", "[", `\[`, "|", `\|`).Replace(s)
}
