package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/backendconf/terragrunt"
	"github.com/statelatch/statelatch/internal/treefile"
)

const (
	maxEntries = 2_000_000 // of a tree; beyond, it is the wrong directory
	batch      = 1000      // of a directory's entries; between them a scan can be stopped
)

// Options say what Scan looks at. The zero Options leave out what is not the tree's own.
type Options struct {
	Vendored bool // look into directories of copies from elsewhere, such as vendor, too
	// Engine: what runs where no version manager's file says it, such as "1.11.4" or "tofu 1.10"; jobs and images do not
	// count then
	Engine string
}

var (
	// Caches and other people's programs are never looked at.
	skippedDirs = []string{
		".git", ".hg", ".svn", ".terraform", ".terragrunt-cache", ".terragrunt-stack",
		".terramate-cache", "node_modules", "cdktf.out",
	}
	vendoredDirs = []string{"vendor", "vendored", "third_party", "external_modules", ".external_modules"}
)

// source is a file of the tree.
type source struct {
	rel     string // where it was found
	real    string // the file itself, where rel is a symbolic link
	target  string // real relative to the tree
	outside bool   // real is not in the tree
	data    []byte
	doc     document
}

// Scan finds every backend "s3" below dir. Symbolic links to files are followed as the engines follow them, those to
// directories are not: what they point at is found where it is. Errors match [statelatch.ErrInvalid] if there is no
// such directory, or it is not one of configurations; a file that cannot be read is a finding.
func Scan(ctx context.Context, dir string, opts Options) (*Tree, error) {
	return scanBy(ctx, dir, opts, runtime.GOMAXPROCS(0))
}

func scanBy(ctx context.Context, dir string, opts Options, workers int) (*Tree, error) {
	engine, err := parseEngine(opts.Engine)
	if err != nil {
		return nil, err
	}
	root, err := filepath.EvalSymlinks(dir)
	if err == nil {
		root, err = filepath.Abs(root)
	}
	if err != nil {
		return nil, fmt.Errorf("%w directory: %w", statelatch.ErrInvalid, err)
	}
	if info, err := os.Stat(root); err == nil && !info.IsDir() {
		return nil, fmt.Errorf("%w directory %s: it is a file; give the directory that it is in", statelatch.ErrInvalid, dir)
	}
	s := newScanner(root, dir)
	s.engine, s.assumed = engine, map[string]bool{}
	r := newReader(ctx, s, workers)
	err = s.walk(ctx, root, opts, r)
	r.finish()
	if err != nil {
		return nil, err
	}
	s.partials(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	s.assemble()
	s.judge()
	return s.tree, nil
}

// walk gives all files below a directory to r.
func (s *scanner) walk(ctx context.Context, dir string, opts Options, r *reader) error {
	rel := s.rel(dir)
	entries, err := s.entries(ctx, dir)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, statelatch.ErrInvalid):
		return err
	case err != nil && rel == ".":
		return fmt.Errorf("%w directory: %w", statelatch.ErrInvalid, err)
	case err != nil:
		why := cause(err)
		r.do(func(part *scanner) {
			part.find("unreadable", Error, rel, 0, "it cannot be read: "+why, "let this user read it")
		})
		return nil
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		name := filepath.Join(dir, e.Name())
		if !e.IsDir() {
			r.do(func(part *scanner) { part.file(name, part.rel(name)) })
			continue
		}
		if slices.Contains(skippedDirs, e.Name()) || !opts.Vendored && slices.Contains(vendoredDirs, e.Name()) {
			continue
		}
		if err := s.walk(ctx, name, opts, r); err != nil {
			return err
		}
	}
	return nil
}

// entries are what a directory has that can matter, by name.
func (s *scanner) entries(ctx context.Context, dir string) ([]fs.DirEntry, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []fs.DirEntry
	for err == nil && ctx.Err() == nil {
		var some []fs.DirEntry
		some, err = f.ReadDir(batch)
		for _, e := range some {
			if e.IsDir() || kindOfFile(s.rel(filepath.Join(dir, e.Name()))) != fileOther {
				all = append(all, e)
			}
		}
		if s.seen += len(some); s.seen > maxEntries {
			return nil, fmt.Errorf("%w directory %s: it has more than %d files; give the part of it that has the configurations",
				statelatch.ErrInvalid, s.tree.Dir, maxEntries)
		}
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = nil
	}
	slices.SortFunc(all, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return all, err
}

// scanner collects the files of a tree by directory.
type scanner struct {
	root string
	seen int // entries of directories
	tree *Tree
	dirs map[string][]*source // by directory, in the order of names
	pins map[string][]pin     // by directory

	units map[string]terragrunt.Unit // evaluated, by directory

	engine *pin // the user's word for it; nil: none

	named   []naming        // files for -backend-config, as command lines name them
	assumed map[string]bool // directories whose -backend-config files nothing names
	looks   int             // at whether a naming means a file
	maybe   []string        // files that are some if their content says so
}

func newScanner(root, dir string) *scanner {
	return &scanner{
		root: root, tree: &Tree{Dir: dir, sources: map[string]*source{}}, dirs: map[string][]*source{},
		pins: map[string][]pin{},
	}
}

func (s *scanner) rel(name string) string {
	rel, err := filepath.Rel(s.root, name)
	if err != nil {
		return name
	}
	return filepath.ToSlash(rel)
}

func (s *scanner) find(id string, severity Severity, file string, line int, text, fix string) {
	s.tree.Findings = append(s.tree.Findings,
		Finding{ID: id, Severity: severity, File: file, Line: line, Text: text, Fix: fix})
}

// file reads a file if its name says that it can matter.
func (s *scanner) file(name, rel string) {
	kind := kindOfFile(rel)
	if kind == fileOther {
		return
	}
	if kind == fileMaybe {
		s.maybe = append(s.maybe, rel)
		return
	}
	real, data, ok := s.read(name, rel, kind)
	if !ok {
		return
	}
	switch kind {
	case filePin:
		s.managerPins(rel, data)
		return
	case fileText:
		s.mentions(rel, string(data), true)
		s.jobPins(rel, data)
		s.namings(data)
		return
	case fileProse:
		s.namings(data)
		return
	case fileTerragrunt:
		s.mentions(rel, string(data), false)
		s.namings(data)
	}
	s.keep(kind, rel, real, data)
}

// keep reads a file's content as what its kind is, and keeps it by its directory.
func (s *scanner) keep(kind fileKind, rel, real string, data []byte) {
	src := &source{rel: rel, real: real, target: s.rel(real), data: data}
	src.outside = !filepath.IsLocal(filepath.FromSlash(src.target))
	var err error
	if src.doc, err = read(kind, src); err != nil {
		s.find("unreadable", Error, rel, lineOf(err), "the engines cannot read it, so it was not searched: "+err.Error(),
			"correct it and scan again")
		return
	}
	if len(src.doc.places) == 0 && len(src.doc.includes) == 0 {
		src.data = nil // nobody asks for it again
	}
	if s.tree.sources[real] == nil {
		s.tree.sources[real] = src
	}
	s.dirs[path.Dir(rel)] = append(s.dirs[path.Dir(rel)], src)
}

// read reads a file of the tree; false if it is nothing to be read.
func (s *scanner) read(name, rel string, kind fileKind) (real string, data []byte, ok bool) {
	real, err := filepath.EvalSymlinks(name)
	if err == nil {
		data, err = treefile.Read(real, treefile.MaxSize)
	}
	switch {
	case err == nil:
		return real, data, true
	case errors.Is(err, treefile.ErrNotRegular), errors.Is(err, fs.ErrNotExist):
		// a directory, a device, a link to nothing
	case errors.Is(err, treefile.ErrTooLong):
		if kind == fileTerraform {
			s.find("unreadable", Error, rel, 0, fmt.Sprintf("it is longer than %d MiB and was not read", treefile.MaxSize>>20),
				"")
		}
	default:
		s.find("unreadable", Error, rel, 0, "it cannot be read: "+cause(err), "let this user read it")
	}
	return "", nil, false
}

// readSmall reads a file that may be a part of a configuration; false if it is longer, or cannot be read.
func (s *scanner) readSmall(name string) (real string, data []byte, ok bool) {
	real, err := filepath.EvalSymlinks(name)
	if err == nil {
		data, err = treefile.Read(real, maxPartial)
	}
	return real, data, err == nil
}

// cause is an error of the file system without its path, which would be the machine's.
func cause(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err.Error()
	}
	return err.Error()
}

type fileKind int

const (
	fileOther fileKind = iota
	fileTerraform
	fileBackendConfig
	fileTerragrunt // or any other .hcl, such as a file for -backend-config
	filePin
	fileText  // scripts and templates
	fileProse // which names files for -backend-config
	fileMaybe // of any name: a file for -backend-config if its content says so
)

var (
	textSuffixes = []string{
		".sh", ".bash", ".yml", ".yaml", ".mk", ".ps1", ".tpl", ".tmpl", ".tftpl", ".j2", ".jinja",
		".gotmpl", ".erb", ".env", ".envrc", ".py", ".groovy", ".bat", ".cmd",
	}
	textNames = []string{
		"Makefile", "GNUmakefile", "makefile", "Justfile", "justfile", "Jenkinsfile", "devbox.json",
		"devcontainer.json", "Taskfile",
	}
)

// otherSuffixes are of files that nobody gives to -backend-config: programs, pictures, archives.
var otherSuffixes = strings.Fields(`
	.go .js .mjs .cjs .ts .tsx .jsx .vue .svelte .java .kt .scala .rb .rs .c .h .cc .cpp .hpp .cs .php .pl .lua .swift .r
	.sql .html .htm .css .scss .less .svg .png .jpg .jpeg .gif .ico .webp .bmp .pdf .woff .woff2 .ttf .eot .mp3 .mp4 .mov
	.zip .gz .tgz .tar .bz2 .xz .7z .jar .whl .exe .dll .so .dylib .bin .o .a .class .pyc .lock .sum .mod .map .csv .tsv
	.parquet .xml .drawio .pem .crt .key .pub .ipynb .snap .log .tfstate .backup
`)

func kindOfFile(rel string) fileKind {
	base := path.Base(rel)
	has := func(suffix string) bool { return strings.HasSuffix(base, suffix) }
	switch {
	case isManager(rel):
		return filePin
	case base == ".terraform.lock.hcl", has("~"):
		return fileOther
	case has(".tfbackend"), has(".tfbackend.json"):
		return fileBackendConfig
	case slices.ContainsFunc(suffixes, has):
		if strings.HasPrefix(base, ".") {
			return fileOther // the engines do not read it either
		}
		return fileTerraform
	case strings.Contains(strings.ToLower(base), "backend") &&
		slices.Contains([]string{".hcl", ".json", ".conf", ".config", ".cfg", ".tfvars"}, path.Ext(base)):
		return fileBackendConfig
	case has(".hcl"), has(".hcl.json"):
		return fileTerragrunt
	case slices.Contains(textNames, base), slices.ContainsFunc(textSuffixes, has), strings.Contains(base, "Dockerfile"),
		strings.Contains(base, "Containerfile"):
		return fileText
	case slices.Contains([]string{".md", ".markdown", ".mdx", ".rst", ".adoc"}, path.Ext(base)):
		return fileProse
	case !slices.Contains(otherSuffixes, strings.ToLower(path.Ext(base))):
		return fileMaybe
	}
	return fileOther
}
