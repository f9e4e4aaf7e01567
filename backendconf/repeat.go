package backendconf

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/statelatch/statelatch/internal/secretlike"
	"github.com/statelatch/statelatch/internal/treefile"
)

// harmless are the arguments of type string whose values may be printed: they name places. What is not here, and not a
// boolean, a number or an endpoint, is printed by its name alone, also an argument that a later version adds.
var harmless = map[string]bool{
	"acl": true, "bucket": true, "dynamodb_table": true, "ec2_metadata_service_endpoint_mode": true, "key": true,
	"kms_key_id": true,
	"profile":    true, "region": true, "retry_mode": true, "sts_region": true, "workspace_key_prefix": true,
}

var endpointNames = map[string]bool{
	"dynamodb_endpoint": true, "endpoint": true, "iam_endpoint": true, "sts_endpoint": true,
	"ec2_metadata_service_endpoint": true,
}

// Repeatable is an item of [Options.BackendConfig] for a command to paste. Where its value might be a secret it is
// NAME=..., and whoever pastes it has to give the value again. A file is named, and nothing of what is in it is shown.
func Repeatable(item string) string {
	name, value, isPair := strings.Cut(item, "=")
	switch {
	case !isPair:
		return item
	case secretlike.Text(value):
	case harmless[name], kinds[name] == kindBool && isBool(value), kinds[name] == kindNumber && isNumber(value),
		endpointNames[name] && plainURL(value), name == "endpoints" && plainEndpoints(value):
		return item
	}
	if !hclsyntax.ValidIdentifier(strings.TrimSpace(name)) {
		name = "?"
	}
	return name + "=..."
}

func isBool(s string) bool { _, err := strconv.ParseBool(s); return err == nil }

func isNumber(s string) bool { _, err := strconv.Atoi(s); return err == nil }

// plainURL reports whether s is a scheme, a host and a port at most: a path or a query may be what admits to it.
func plainURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" &&
		(s == u.Scheme+"://"+u.Host || s == u.Scheme+"://"+u.Host+"/")
}

// plainEndpoints reports whether text is an object of plain URLs.
func plainEndpoints(text string) bool {
	if strings.ContainsAny(text, "#\n") || strings.Contains(text, "/*") || strings.Contains(text, " //") {
		return false // a comment
	}
	expr, diags := treefile.ParseExpression([]byte(text), "endpoints", hcl.InitialPos)
	if diags.HasErrors() {
		return false
	}
	value, err := literal("endpoints", expr)
	m, ok := value.(map[string]any)
	if err != nil || !ok {
		return false
	}
	for name, v := range m {
		s, ok := v.(string)
		if !ok || !hclsyntax.ValidIdentifier(name) || !plainURL(s) {
			return false
		}
	}
	return true
}
