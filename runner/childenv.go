package runner

import (
	"os"
	"slices"
	"strings"
)

const (
	variablePrefix = "STATELATCH_"
	// shimPrefix begins the names of what a run tells the engines' stand-ins below it.
	shimPrefix = "STATELATCH_SHIM_"
)

// handedOn are the variables of ours that a command gets. They say where and how, never a secret: keys, credentials and
// webhooks stay here, and so does what is not known yet.
var handedOn = []string{
	heldVariable, "STATELATCH_STATE_DIR", "STATELATCH_PROBE", "STATELATCH_BUCKET", "STATELATCH_EXPECTED_BUCKET_OWNER",
	"STATELATCH_WHO", "STATELATCH_INFO", "STATELATCH_REASON", "STATELATCH_AUDIT_REQUIRED", "STATELATCH_TRUST_DIRECTORY",
}

// auditVariable says where acts are recorded. An address on the web may be a secret by itself, and there is no key here
// to sign with.
const auditVariable = "STATELATCH_AUDIT"

// childEnv is what a command gets of env; nil: our own.
func childEnv(env []string) []string {
	if env == nil {
		env = os.Environ()
	}
	recorded := strings.Split(lookup(env, auditVariable), ",")
	for i := range recorded {
		recorded[i] = strings.TrimSpace(recorded[i])
	}
	recorded = slices.DeleteFunc(recorded, func(location string) bool {
		scheme, _, _ := strings.Cut(strings.ToLower(location), ":")
		return location == "" || scheme == "http" || scheme == "https"
	})
	env = slices.DeleteFunc(slices.Clone(env), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return hasPrefix(name, variablePrefix) && !hasPrefix(name, shimPrefix) &&
			!slices.ContainsFunc(handedOn, func(known string) bool { return sameVariable(name, known) })
	})
	if len(recorded) > 0 {
		env = append(env, auditVariable+"="+strings.Join(recorded, ","))
	}
	return env
}

func hasPrefix(name, prefix string) bool {
	return len(name) >= len(prefix) && sameVariable(name[:len(prefix)], prefix)
}
