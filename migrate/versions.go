package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/statelatch/statelatch/internal/lazyre"
	"go.yaml.in/yaml/v3"
)

// pin is a version of an engine that a file names: for a version manager, or for a job or an image.
type pin struct {
	tool, file string
	text       string // empty if it cannot be read
	means      span   // what the text stands for, once it is noted
	line       int
	npm        bool // ~> is as in npm, where the actions that set up engines have it from
	job        bool // what a job or an image has, which may not be what runs in a root: the user's word counts more
}

const (
	maxPins  = 1000   // of a directory
	maxTakes = 10_000 // values that the settings of a file lead to
)

// maxVersionFile is the longest file that is looked at for versions.
const maxVersionFile = 1 << 20

// managers are the files of version managers, and the tool that all of their text is the version of, if it is.
var managers = map[string]string{
	".terraform-version": ToolTerraform, ".tfswitchrc": ToolTerraform, ".opentofu-version": ToolTofu,
	".tofu-version":  ToolTofu,
	".tool-versions": "", ".tfswitch.toml": "",
}

// miseFile is what the path of a file of mise ends with, below the directory that it is for.
var miseFile = lazyre.New(`(?:^|/)(?:\.(?:mise|rtx)(?:\.[\w-]+)*\.toml|mise(?:\.[\w-]+)*\.toml|\.?mise/config(?:\.[\w-]+)*\.toml|` +
	`\.config/mise(?:\.[\w-]+)*\.toml|\.config/mise/(?:config|mise)(?:\.[\w-]+)*\.toml|` +
	`\.config/mise/conf\.d/[^/]+\.toml)$`)

// isManager reports whether a file is one of a version manager.
func isManager(rel string) bool {
	_, ok := managers[path.Base(rel)]
	return ok || miseFile.MatchString(rel)
}

// managedBy is the directory that a version manager reads a file for.
func managedBy(rel string) string {
	if at := miseFile.FindStringIndex(rel); at != nil {
		return path.Join(".", rel[:at[0]])
	}
	return path.Dir(rel)
}

// appliesTo is the directory that a file of settings says something for: the one that has it, or its hidden directory.
func appliesTo(rel string) string {
	parts := strings.Split(path.Dir(rel), "/")
	for i, part := range parts {
		if strings.HasPrefix(part, ".") && part != "." {
			return path.Join(append([]string{"."}, parts[:i]...)...)
		}
	}
	return path.Dir(rel)
}

// pin notes a version that a file names for a directory. What a version manager's file says counts even if it cannot be
// told which version that is: then it is not what a directory above says. Its text is not kept, as it may be anything.
func (s *scanner) pin(dir string, p pin) {
	p.text = strings.TrimSpace(p.text)
	var ok bool
	if p.means, ok = p.span(); !ok && p.text != minRequired {
		if p.job || p.text == "" {
			return
		}
		p.text = ""
	}
	s.keepPin(dir, p)
}

func (s *scanner) keepPin(dir string, p pin) {
	if len(s.pins[dir]) < maxPins && !slices.Contains(s.pins[dir], p) {
		s.pins[dir] = append(s.pins[dir], p)
	}
}

// managerPins reads a file of a version manager.
func (s *scanner) managerPins(rel string, data []byte) {
	dir := managedBy(rel)
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if strings.HasSuffix(rel, ".toml") {
		s.tomlPins(dir, rel, data)
		return
	}
	tool := managers[path.Base(rel)]
	for i, line := range strings.Split(string(data), "\n") {
		line, _, _ = strings.Cut(line, "#")
		switch fields := strings.Fields(line); {
		case len(fields) == 0:
		case tool != "":
			s.pin(dir, pin{tool: tool, text: strings.TrimSpace(line), file: rel, line: i + 1})
			return
		case len(fields) > 1 && toolNamed(fields[0]) != "":
			s.pin(dir, pin{tool: toolNamed(fields[0]), text: fields[1], file: rel, line: i + 1})
		}
	}
}

// toolNamed is the engine that a version manager has under a name, such as "aqua:hashicorp/terraform"; empty if none.
func toolNamed(name string) string {
	name = name[strings.LastIndexAny(name, ":/")+1:]
	switch name {
	case "terraform":
		return ToolTerraform
	case "opentofu", "tofu":
		return ToolTofu
	}
	return ""
}

// tomlPins reads mise's and tfswitch's files. What is no TOML is the manager's to say.
func (s *scanner) tomlPins(dir, rel string, data []byte) {
	var doc map[string]any
	if len(data) > maxVersionFile>>4 || toml.Unmarshal(data, &doc) != nil {
		return
	}
	tools, _ := doc["tools"].(map[string]any)
	if v, ok := doc["version"].(string); ok && path.Base(rel) == ".tfswitch.toml" {
		tools = map[string]any{"terraform": v}
		if product, _ := doc["product"].(string); toolNamed(product) == ToolTofu {
			tools = map[string]any{"opentofu": v}
		}
	}
	for name, value := range tools {
		tool := toolNamed(name)
		if tool == "" {
			continue
		}
		line := 1 + bytes.Count(data[:max(0, bytes.Index(data, []byte(name)))], []byte("\n"))
		if path.Base(rel) == ".tfswitch.toml" {
			line = 1 + bytes.Count(data[:max(0, bytes.Index(data, []byte("version")))], []byte("\n"))
		}
		for _, text := range tomlVersions(value) {
			s.pin(dir, pin{tool: tool, text: text, file: rel, line: line})
		}
	}
}

func tomlVersions(value any) (all []string) {
	switch v := value.(type) {
	case string:
		return []string{v}
	case []any:
		for _, one := range v {
			all = append(all, tomlVersions(one)...)
		}
	case map[string]any:
		return tomlVersions(v["version"])
	}
	return all
}

// versionKeys are the names of settings that hold an engine's version, in small letters alone.
var versionKeys = map[string]string{
	"terraformversion": ToolTerraform, "tfversion": ToolTerraform, "defaulttfversion": ToolTerraform,
	"defaultterraformversion":  ToolTerraform,
	"atlantisdefaulttfversion": ToolTerraform, "tfenvterraformversion": ToolTerraform,
	"asdfterraformversion": ToolTerraform, "miseterraformversion": ToolTerraform,
	"opentofuversion": ToolTofu, "tofuversion": ToolTofu, "tofuenvtofuversion": ToolTofu, "asdfopentofuversion": ToolTofu,
	"miseopentofuversion": ToolTofu,
}

func versionKey(name string) string {
	return versionKeys[strings.Map(func(r rune) rune {
		switch {
		case r == '_' || r == '-' || r == '.':
			return -1
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		}
		return r
	}, name)]
}

// Versions in a line of a script, a container file or the like.
var (
	aboutEngines  = lazyre.New(`(?i)terraform|terragrunt|tofu|tf[_-]?version|tenv|tfenv|tfswitch`)
	assignment    = lazyre.New(`(?:\b([A-Z][A-Z0-9_]*_VERSION)|^\s*["']?((?:tf|tofu|terraform|opentofu)_version))\b["']?\s*(?:[:?]?=|:|\s)\s*["']?v?(\d+(?:\.\d+){1,2}(?:-[a-z0-9]+)?)\b`)
	flagged       = lazyre.New(`--default-tf-version[= ]["']?v?(\d+(?:\.\d+){1,2})`)
	image         = lazyre.New(`\b(hashicorp/terraform|opentofu/opentofu|alpine/terragrunt)(?::([\w.-]+))?(?:[\s"'@]|$)`)
	imageVariable = lazyre.New(`((?:hashicorp/terraform|opentofu/opentofu):)v?\$[{(]*\s*(?:[a-z]+\.)*([A-Za-z_]\w*)(?::?-v?([\w.-]+))?\s*[})]*`)
	variable      = lazyre.New(`(?m)^[ \t]*(?:(?:export|ARG|ENV|readonly|local|set)[ \t]+)?([A-Za-z_]\w*)[ \t]*[:?]?[= ][ \t]*["']?v?(\d+\.\d+(?:\.\d+)?)["']?[ \t\r]*$`)
	runsImage     = lazyre.New(`(?i)\bimage|docker|podman|^\s*FROM |container`)
	imageVersion  = lazyre.New(`\b(terraform|tf|tofu)[-_]v?(\d+\.\d+(?:\.\d+)?)(?:[-_\s"']|$)`)
	gitlabImage   = lazyre.New(`terraform-images/(?:releases|branches)/(?:terraform:)?v?(\d+\.\d+)`)
	download      = lazyre.New(`releases\.hashicorp\.com/terraform/v?(\d+\.\d+\.\d+)|opentofu/releases/download/v(\d+\.\d+\.\d+)`)
	managerCall   = lazyre.New(`\b(tfenv|tofuenv|tenv tf|tenv tofu|tfswitch|asdf (?:install|local|global|set) (?:terraform|opentofu))\s+(?:install\s+|use\s+)?v?(\d+\.\d+(?:\.\d+)?)\b`)
	at            = lazyre.New(`\b(terraform|opentofu)@v?(\d+\.\d+(?:\.\d+)?)\b`)
)

// linePins finds versions in a line.
func linePins(line string) []pin {
	if !aboutEngines.MatchString(line) {
		return nil
	}
	var found []pin
	add := func(tool, text string) { found = append(found, pin{tool: tool, text: text}) }
	for _, m := range assignment.FindAllStringSubmatch(line, -1) {
		if tool := versionKey(m[1] + m[2]); tool != "" {
			add(tool, m[3])
		}
	}
	for _, m := range flagged.FindAllStringSubmatch(line, -1) {
		add(ToolTerraform, m[1])
	}
	for _, m := range image.FindAllStringSubmatch(line, -1) {
		tool, tag := ToolTerraform, m[2]
		if strings.HasPrefix(m[1], "opentofu") {
			tool = ToolTofu
		}
		if tag == "" && (!runsImage.MatchString(line) || strings.Contains(line, "github.com/")) {
			continue // its name alone, such as of a repository
		}
		tag, _, _ = strings.Cut(tag, "-")
		if tag == "" || tag == "light" || tag == "full" || tag == "minimal" {
			tag = "latest"
		}
		add(tool, tag)
	}
	for _, m := range gitlabImage.FindAllStringSubmatch(line, -1) {
		add(ToolTerraform, m[1])
	}
	for _, m := range download.FindAllStringSubmatch(line, -1) {
		if m[1] != "" {
			add(ToolTerraform, m[1])
		} else {
			add(ToolTofu, m[2])
		}
	}
	for _, m := range slices.Concat(managerCall.FindAllStringSubmatch(line, -1), at.FindAllStringSubmatch(line, -1)) {
		tool := ToolTerraform
		if strings.Contains(m[1], "tofu") {
			tool = ToolTofu
		}
		add(tool, m[2])
	}
	if strings.Contains(line, "image") || strings.HasPrefix(line, "FROM ") {
		for _, m := range imageVersion.FindAllStringSubmatch(line, -1) {
			tool := ToolTerraform
			if m[1] == ToolTofu {
				tool = ToolTofu
			}
			add(tool, m[2])
		}
	}
	return found
}

// withTags are the lines that a line stands for whose image has a tag that is computed: one for each value that
// variable knows, or for the default that the line itself has.
func withTags(line string, variable func(name string) []string) []string {
	m := imageVariable.FindStringSubmatchIndex(line)
	if m == nil {
		return []string{line}
	}
	values := variable(line[m[4]:m[5]])
	if len(values) == 0 && m[6] >= 0 {
		values = []string{line[m[6]:m[7]]}
	}
	var lines []string
	for _, v := range values[:min(len(values), maxPins)] {
		lines = append(lines, line[:m[3]]+strings.TrimPrefix(v, "v")+line[m[1]:])
	}
	return lines
}

// jobPins finds the versions that scripts, container files and settings of CI name.
func (s *scanner) jobPins(rel string, data []byte) {
	if len(data) > maxVersionFile || !aboutEngines.Match(data) {
		return
	}
	dir := appliesTo(rel)
	switch path.Ext(rel) {
	case ".yml", ".yaml", ".json":
		if s.yamlPins(dir, rel, data) {
			return
		}
	}
	values := map[string][]string{}
	for _, m := range variable.FindAllStringSubmatch(string(data), maxPins) {
		values[m[1]] = append(values[m[1]], m[2])
	}
	for i, line := range strings.Split(string(data), "\n") {
		if isComment(line) {
			continue
		}
		for _, line := range withTags(line, func(name string) []string { return values[name] }) {
			for _, p := range linePins(line) {
				p.file, p.line, p.job = rel, i+1, true
				s.pin(dir, p)
			}
		}
	}
}

func isComment(line string) bool {
	line = strings.TrimSpace(line)
	return strings.HasPrefix(line, "#") || strings.HasPrefix(line, "//")
}

// yamlPins reads settings in YAML, or in JSON, with comments or without; false if they are none.
func (s *scanner) yamlPins(dir, rel string, data []byte) bool {
	if strings.HasSuffix(rel, ".json") {
		var lines []string
		for line := range strings.SplitSeq(string(data), "\n") {
			if strings.HasPrefix(strings.TrimSpace(line), "//") {
				line = ""
			}
			lines = append(lines, line)
		}
		data = []byte(strings.ReplaceAll(strings.Join(lines, "\n"), "\t", " "))
	}
	y := settings{scanner: s, rel: rel, names: map[string][]*yaml.Node{}, npm: strings.Contains("/"+rel, "/.github/") ||
		path.Base(path.Dir(rel)) == "workflows"}
	var docs []*yaml.Node
	for d := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var doc yaml.Node
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return false // a template of YAML, say
		}
		docs = append(docs, &doc)
	}
	for _, doc := range docs {
		y.index(doc)
	}
	for _, doc := range docs {
		y.walk(dir, "", doc)
	}
	return true
}

// settings is a file in YAML.
type settings struct {
	*scanner
	rel   string
	names map[string][]*yaml.Node // values by the name of their setting, for references
	takes int
	npm   bool
}

func (y *settings) index(n *yaml.Node) {
	for i, child := range n.Content { // aliases have none
		if n.Kind == yaml.MappingNode && i%2 == 1 {
			name := n.Content[i-1].Value
			y.names[name] = append(y.names[name], child)
		}
		y.index(child)
	}
}

// walk looks at all settings below n, which is the value of the one of that name.
func (y *settings) walk(dir, name string, n *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		at := y.workDir(dir, n)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i].Value, n.Content[i+1]
			if tool := versionKey(key); tool != "" {
				if d := child(n, "terraform_distribution"); d != nil && toolNamed(d.Value) != "" {
					tool = toolNamed(d.Value)
				}
				y.take(at, tool, value, 0)
			}
			switch {
			case key == "repository" && child(n, "tag") != nil && y.image(at, value, child(n, "tag")):
				continue
			case key == "uses":
				y.action(at, value, n)
			case strings.Contains(key, "features/terraform"), strings.Contains(key, "features/opentofu"):
				y.feature(at, key, value)
			}
			y.walk(at, key, value)
		}
	case yaml.ScalarNode:
		line := n.Line
		if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			line++
		}
		for text := range strings.SplitSeq(n.Value, "\n") {
			if name == "image" {
				text = "image " + text
			}
			if !isComment(text) {
				for _, text := range withTags(text, y.scalars) {
					for _, p := range linePins(text) {
						y.add(dir, p, line)
					}
				}
			}
			line++
		}
	default:
		for _, child := range n.Content {
			y.walk(dir, name, child)
		}
	}
}

// scalars are the texts of the settings of a name.
func (y *settings) scalars(name string) (all []string) {
	for _, n := range y.names[name] {
		if y.takes++; y.takes > maxTakes {
			break
		}
		if v := child(n, "value"); v != nil { // of a variable that is described
			n = v
		}
		if n.Kind == yaml.ScalarNode {
			all = append(all, spelled(n))
		}
	}
	return all
}

// image takes an image whose tag stands by itself; false if it is none of an engine.
func (y *settings) image(dir string, repository, tag *yaml.Node) bool {
	found := linePins("image " + repository.Value + ":" + tag.Value)
	for _, p := range found {
		y.add(dir, p, tag.Line)
	}
	return len(found) > 0
}

// workDir is the directory that a group of settings is for, such as a project of Atlantis.
func (y *settings) workDir(dir string, n *yaml.Node) string {
	for _, name := range []string{"dir", "project_root", "working_directory", "working-directory"} {
		if v := child(n, name); v != nil && v.Kind == yaml.ScalarNode && filepath.IsLocal(v.Value) &&
			!strings.ContainsAny(v.Value, "$*{") {
			return path.Join(dir, v.Value)
		}
	}
	return dir
}

func child(n *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

// action takes what a step sets up if it does not say which version.
func (y *settings) action(dir string, uses, step *yaml.Node) {
	tool := ""
	switch name, _, _ := strings.Cut(uses.Value, "@"); name {
	case "hashicorp/setup-terraform":
		tool = ToolTerraform
	case "opentofu/setup-opentofu":
		tool = ToolTofu
	default:
		return
	}
	with := child(step, "with")
	for _, name := range []string{"terraform_version", "tofu_version", "tofu_version_file"} {
		if with != nil && child(with, name) != nil {
			return
		}
	}
	y.add(dir, pin{tool: tool, text: "latest"}, uses.Line)
}

// feature takes a feature of a development container.
func (y *settings) feature(dir, key string, value *yaml.Node) {
	tool := ToolTerraform
	if strings.Contains(key, "opentofu") {
		tool = ToolTofu
	}
	if v := child(value, "version"); v != nil {
		y.take(dir, tool, v, 0)
		return
	}
	y.add(dir, pin{tool: tool, text: "latest"}, value.Line)
}

// maxReference is how many references lead from a setting to its value.
const maxReference = 3

var (
	identifier  = lazyre.New(`[A-Za-z_][A-Za-z0-9_-]*`)
	quotedValue = lazyre.New(`["'](\d+\.\d+(?:\.\d+)?)["']`)
)

// take notes the version that a setting has: itself, one of a list, its default, or what it refers to.
func (y *settings) take(dir, tool string, n *yaml.Node, depth int) {
	if y.takes++; depth > maxReference || y.takes > maxTakes {
		return
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for _, one := range n.Content {
			y.take(dir, tool, one, depth+1)
		}
	case yaml.MappingNode:
		for _, name := range []string{"default", "value"} {
			if v := child(n, name); v != nil {
				y.take(dir, tool, v, depth+1)
			}
		}
	case yaml.ScalarNode:
		if !strings.ContainsAny(n.Value, "$<{[") || strings.HasPrefix(n.Value, "<") && !strings.HasPrefix(n.Value, "<<") {
			y.add(dir, pin{tool: tool, text: spelled(n)}, n.Line)
			return
		}
		for _, m := range quotedValue.FindAllStringSubmatch(n.Value, -1) {
			y.add(dir, pin{tool: tool, text: m[1]}, n.Line)
		}
		for _, name := range identifier.FindAllString(n.Value, -1) {
			for _, value := range y.names[name] {
				if value != n {
					y.take(dir, tool, value, depth+1)
				}
			}
		}
	}
}

// spelled is the text that a program gets of a scalar: 1.10 without quotes is a number, and so 1.1.
func spelled(n *yaml.Node) string {
	f, err := strconv.ParseFloat(n.Value, 64)
	if err != nil || n.Tag != "!!float" {
		return strings.TrimPrefix(n.Value, "v")
	}
	if short := strconv.FormatFloat(f, 'f', -1, 64); short != n.Value {
		return short + " (" + n.Value + " needs quotes)"
	}
	return n.Value
}

func (y *settings) add(dir string, p pin, line int) {
	p.file, p.line, p.job, p.npm = y.rel, line, true, y.npm
	y.pin(dir, p)
}

// versionTerm is one condition of a version manager, of an image's tag, or of an action.
var versionTerm = lazyre.New(`^(\^|~>|~|>=|<=|>|<|=|==)?\s*v?(\d+)(?:\.(\d+|[xX*]))?(?:\.(\d+|[xX*]))?(?:[-+][0-9A-Za-z.+-]+)?$`)

// span is the versions that a pin stands for. Where several will do, the newest is taken; so one that admits any from
// 1.10 on is one of those. It is false where the text does not tell.
func (p pin) span() (span, bool) {
	text, _, _ := strings.Cut(p.text, " (")
	text = strings.Trim(text, `"' `)
	newest := span{firstWithLockfile, release{maxRelease}}
	switch strings.ToLower(text) {
	case "latest", "stable", "lts", "*", "latest-stable", latestAllowed:
		return newest, true
	}
	if pattern, ok := strings.CutPrefix(text, "latest:"); ok {
		return newestOf(pattern)
	}
	text = strings.TrimPrefix(text, "prefix:")
	all := span{to: release{maxRelease}}
	text = operatorBlank.ReplaceAllString(strings.ReplaceAll(text, ",", " "), "$1")
	terms := strings.Fields(text)
	for _, t := range terms {
		one, ok := p.term(t)
		if !ok {
			return span{}, false
		}
		all = all.and(one)
	}
	if len(terms) == 0 || !all.from.less(all.to) {
		return span{}, false
	}
	if firstWithLockfile.less(all.to) && all.from.less(firstWithLockfile) {
		all.from = firstWithLockfile
	}
	return all, true
}

// What version managers take from required_version: the newest that it admits, and the oldest.
const (
	latestAllowed = "latest-allowed"
	minRequired   = "min-required"
)

// newestOf is the newest version that a pattern fits, which version managers look for with grep: of those that there
// may be, as a pattern such as ^1.1 fits 1.14, too. False if it fits none.
func newestOf(pattern string) (span, bool) {
	re, err := regexp.Compile(`^(?:` + strings.TrimPrefix(pattern, "^") + `)`)
	if err != nil || len(pattern) > 100 {
		return span{}, false
	}
	for major := 1; major >= 0; major-- {
		for minor := 20; minor >= 0; minor-- {
			for patch := 20; patch >= 0; patch-- {
				if !re.MatchString(fmt.Sprintf("%d.%d.%d", major, minor, patch)) {
					continue
				}
				if v := (release{major, minor}); v.less(firstWithLockfile) {
					return span{v, release{major, minor + 1}}, true
				}
				return span{firstWithLockfile, release{maxRelease}}, true
			}
		}
	}
	return span{}, false
}

var operatorBlank = lazyre.New(`(\^|~>|~|>=|<=|>|<|=)\s+`)

func (p pin) term(text string) (span, bool) {
	m := versionTerm.FindStringSubmatch(text)
	if m == nil {
		return span{}, false
	}
	var v release
	given := 0
	for i := range v {
		n, err := strconv.Atoi(m[i+2])
		if err != nil {
			break
		}
		v[i] = n
		given++
	}
	upTo := func(parts int) release { // the first version that differs in its first parts
		next := release{}
		copy(next[:], v[:parts])
		next[parts-1]++
		return next
	}
	open := release{maxRelease}
	switch m[1] {
	case "", "=", "==":
		return span{v, upTo(given)}, true
	case "^":
		return span{v, upTo(1)}, true
	case "~":
		return span{v, upTo(min(given, 2))}, true
	case "~>":
		if p.npm || given == 1 {
			return span{v, upTo(min(given, 2))}, true
		}
		return span{v, upTo(given - 1)}, true
	case ">=":
		return span{v, open}, true
	case ">":
		return span{upTo(given), open}, true
	case "<":
		return span{to: v}, true
	}
	return span{to: upTo(given)}, true
}
