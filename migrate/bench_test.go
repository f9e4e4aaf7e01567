package migrate

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// manyRoots writes a tree of so many roots, each with a backend, variables, a module call and a page.
func manyRoots(tb testing.TB, n int) string {
	tb.Helper()
	dir := tb.TempDir()
	for i := range n {
		root := filepath.Join(dir, fmt.Sprintf("team%d", i%50), fmt.Sprintf("root%d", i))
		if err := os.MkdirAll(root, 0o750); err != nil {
			tb.Fatal(err)
		}
		for name, text := range map[string]string{
			"backend.tf": fmt.Sprintf("terraform {\n  required_version = \">= 1.10\"\n  backend \"s3\" {\n    bucket = \"acme-state\"\n"+
				"    key = \"r%d/terraform.tfstate\"\n    region = \"eu-central-1\"\n    dynamodb_table = \"tf-locks\"\n  }\n}\n", i),
			"main.tf": "module \"net\" {\n  source = \"../../modules/net\"\n  cidr = \"10.0.0.0/16\"\n}\n\n" +
				"resource \"aws_instance\" \"web\" {\n  count = 3\n  ami = \"ami-123\"\n  tags = { Name = \"web-${count.index}\" }\n}\n",
			"README.md": "# A root\n\nRun `terraform init`.\n",
		} {
			if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
				tb.Fatal(err)
			}
		}
	}
	return dir
}

func BenchmarkScan(b *testing.B) {
	roots := 5_000
	if testing.Short() {
		roots = 200
	}
	dir := manyRoots(b, roots)
	var tree *Tree
	for b.Loop() {
		var err error
		if tree, err = Scan(b.Context(), dir, Options{}); err != nil || len(tree.Roots) != roots {
			b.Fatalf("%d roots, %v", len(tree.Roots), err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*roots), "us/root")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	runtime.KeepAlive(tree)
	tree = nil
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(before.HeapAlloc-after.HeapAlloc)/float64(roots), "B-kept/root")
}
