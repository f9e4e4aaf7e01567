package fleet

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/bucket/membucket"
)

func TestNear(t *testing.T) {
	t.Parallel()
	inner := membucket.New("b", membucket.Options{})
	keys := []string{
		"prod/app/terraform.tfstate", "prod/app/terraform.tfstate.tflock", "prod/ap2/terraform.tfstate", "stage/app/terraform.tfstate",
		"env:/blue/prod/app/terraform.tfstate", "terraform.tfstate", "äöü/x",
	}
	for i := range 1500 {
		keys = append(keys, fmt.Sprintf("many/%04d", i))
	}
	for _, key := range keys {
		if _, err := inner.Put(t.Context(), key, strings.NewReader("x"), bucket.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for key, want := range map[string][]string{
		"prod/app/terraform.tfsate":            {"prod/app/terraform.tfstate"},
		"prod/apps/terraform.tfstate":          {"prod/app/terraform.tfstate", "prod/ap2/terraform.tfstate"},
		"prdo/app/terraform.tfstate":           {"prod/app/terraform.tfstate", "prod/ap2/terraform.tfstate"},
		"env:/bleu/prod/app/terraform.tfstate": {"env:/blue/prod/app/terraform.tfstate"},
		"teraform.tfstate":                     {"terraform.tfstate"},
		"äoü/x":                                {"äöü/x"},
		"deploys/prod":                         nil,
		"a/b/c/d/e/f/g":                        nil,
	} {
		faulty := faultbucket.New(inner, faultbucket.Options{})
		got, err := Near(t.Context(), faulty, key, 2)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %q, %v; want %q", key, got, err, want)
		}
		if n := len(faulty.Requests()); n > nearListings {
			t.Errorf("%s: %d listings", key, n)
		}
	}
	if _, err := Near(t.Context(), faultbucket.New(inner, faultbucket.Options{
		Rules: []faultbucket.Rule{{Op: faultbucket.OpList, Fault: faultbucket.Answer(403)}},
	}), "a", 2); err == nil {
		t.Error("a listing that is denied was taken for an empty one")
	}
}
