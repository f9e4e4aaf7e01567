package migrate

import (
	"strings"
	"testing"
)

func TestJudgeEngine_Constraints(t *testing.T) {
	t.Parallel()
	for constraints, want := range map[string]Verdict{
		">= 1.10": EngineKnows, ">= 1.10.0, < 2": EngineKnows, "~> 1.10": EngineKnows, "~> 1.10.3": EngineKnows, "1.11.4": EngineKnows, "= v1.10.0": EngineKnows,
		"> 1.9.8, != 1.9.9": EngineMayBeOld, ">= 1.9": EngineMayBeOld, "~> 1.9": EngineMayBeOld, "~> 1": EngineMayBeOld, "< 2": EngineMayBeOld, "": EngineMayBeOld, "nonsense": EngineMayBeOld,
		">= 1.10.0-rc1": EngineKnows, ">= 2.0": EngineKnows, "nonsense|>= 1.11": EngineMayBeOld,
		"~> 1.9.0": EngineIsTooOld, "< 1.10": EngineIsTooOld, "<= 1.9.9": EngineIsTooOld, "1.5.7": EngineIsTooOld,
		">= 1.3|>= 1.10": EngineKnows, ">= 1.3|< 1.8": EngineIsTooOld,
	} {
		var requires []required
		for text := range strings.SplitSeq(constraints, "|") {
			requires = append(requires, required{text: text})
		}
		if constraints == "" {
			requires = nil
		}
		if got := judgeEngine(requires, nil).Verdict; got != want {
			t.Errorf("%q: got %s, want %s", constraints, got, want)
		}
	}
}

func TestJudgeEngine_Pins(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		file, text, require string
		want                Verdict
	}{
		{".terraform-version", "1.11.4\n", ">= 1.3", EngineKnows},
		{".terraform-version", "1.9.8", ">= 1.3", EngineIsTooOld},
		{".terraform-version", "latest", ">= 1.3", EngineKnows},
		{".terraform-version", "latest:^1.9", ">= 1.3", EngineMayBeOld},
		{".opentofu-version", "# ours\n1.10.0", "", EngineKnows},
		{".tool-versions", "terraform 1.11.4\nopentofu 1.9.0\n", "", EngineIsTooOld},
		{".tool-versions", "nodejs 20\n", "", EngineMayBeOld},
		{".terraform-version", "1.11.4", "~> 1.5.0", EngineIsTooOld}, // nothing fits; what is pinned is not what runs there
	} {
		var requires []required
		if tc.require != "" {
			requires = []required{{text: tc.require}}
		}
		if got := judgeEngine(requires, readPins(tc.file, tc.text)).Verdict; got != tc.want {
			t.Errorf("%s %q with %q: got %s, want %s", tc.file, tc.text, tc.require, got, tc.want)
		}
	}
}
