package secretlike

import (
	_ "embed"
	"encoding/base64"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"github.com/statelatch/statelatch/internal/lazyre"
)

// rule is one look. It is tried where one of its keywords, in small letters, is in the text.
type rule struct {
	id       string
	keywords []string
	regex    func() *regexp.Regexp
	entropy  float64 // of the group, at least
	group    int     // that is the secret; 0: the first that there is
	// is, if not nil, decides on a match, by its groups.
	is func(m []string) bool
}

func own(id, keywords, expr string, is func(m []string) bool) rule {
	return rule{id: id, keywords: strings.Split(keywords, ","), regex: lazily(expr), is: is}
}

func lazily(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

// prefixes are those of tokens, with how they go on. Gitleaks has them, too, with exact lengths, which makers change.
var prefixes = map[string]string{
	"ghp_": `[A-Za-z0-9]{10,}`, "gho_": `[A-Za-z0-9]{10,}`, "ghu_": `[A-Za-z0-9]{10,}`, "ghs_": `[A-Za-z0-9]{10,}`, "ghr_": `[A-Za-z0-9]{10,}`,
	"github_pat_": `\w{10,}`, "glpat-": `[\w-]{8,}`, "gldt-": `[\w-]{8,}`, "glrt-": `[\w-]{8,}`, "glft-": `[\w-]{8,}`, "glptt-": `[\w-]{8,}`,
	"glcbt-": `[\w-]{8,}`, "gloas-": `[\w-]{8,}`, "glagent-": `[\w-]{8,}`, "glsoat-": `[\w-]{8,}`,
	"xoxc-": `[\w%-]{8,}`, "xoxd-": `[\w%-]{8,}`, "xoxa-": `[\w-]{8,}`, "xoxb-": `[\w-]{8,}`, "xoxe-": `[\w-]{8,}`, "xoxe.": `[\w-]{8,}`, "xoxo-": `[\w-]{8,}`, "xoxp-": `[\w-]{8,}`, "xoxr-": `[\w-]{8,}`, "xoxs-": `[\w-]{8,}`,
	"xapp-": `[\w-]{8,}`, "AKIA": `[A-Z0-9]{16,}`, "ASIA": `[A-Z0-9]{16,}`, "ABIA": `[A-Z0-9]{16,}`, "ACCA": `[A-Z0-9]{16,}`, "LTAI": `[A-Za-z0-9]{12,}`, "ABSK": `[A-Za-z0-9+/]{30,}`,
	"sk_live_": `\w{8,}`, "sk_test_": `\w{8,}`, "rk_live_": `\w{8,}`, "rk_test_": `\w{8,}`, "whsec_": `\w{8,}`,
	"npm_": `[A-Za-z0-9]{20,}`, "hvs.": `[\w-]{8,}`, "hvb.": `[\w-]{8,}`, "hvr.": `[\w-]{8,}`, "pypi-": `[\w-]{16,}`,
	"dop_v1_": `\w{8,}`, "doo_v1_": `\w{8,}`, "dor_v1_": `\w{8,}`, "shpat_": `\w{8,}`, "shpss_": `\w{8,}`, "shpca_": `\w{8,}`, "shppa_": `\w{8,}`,
	"SG.": `[\w-]{16,}\.[\w-]{16,}`, "AIza": `[\w-]{30,}`, "ya29.": `[\w-]{10,}`, "GOCSPX-": `[\w-]{10,}`, "1//0": `[\w-]{20,}`,
	"sk-ant-": `[\w-]{8,}`, "sk-proj-": `[\w-]{8,}`, "sk-": `[A-Za-z0-9]{20,}`, "lin_api_": `\w{8,}`, "dckr_pat_": `[\w-]{8,}`, "PMAK-": `[\w-]{8,}`,
	"glsa_": `\w{8,}`, "glc_": `[\w=+/]{20,}`, "rubygems_": `\w{8,}`, "pul-": `[a-f0-9]{20,}`, "AGE-SECRET-KEY-": `\w{8,}`, "tskey-": `[\w-]{8,}`, "nvapi-": `[\w-]{8,}`,
	"hf_": `[A-Za-z]{20,}`, "gsk_": `\w{20,}`, "r8_": `\w{20,}`, "xai-": `\w{20,}`, "ATATT3": `[\w=-]{8,}`, "ATCTT3": `[\w=-]{8,}`, "figd_": `[\w-]{8,}`,
	"dp.pt.": `\w{8,}`, "dp.st.": `[\w.]{8,}`, "dp.ct.": `\w{8,}`, "sq0csp-": `[\w-]{8,}`, "sq0atp-": `[\w-]{8,}`, "CFPAT-": `[\w-]{8,}`, "NRAK-": `\w{8,}`, "ops_ey": `\w{8,}`,
	"dapi": `[a-f0-9]{30,}`, "fo1_": `[\w-]{20,}`, "dt0c01.": `\w{8,}`, "sntrys_": `\w{8,}`, "sntryu_": `\w{8,}`, "key-": `[a-f0-9]{32}`,
	"EZAK": `[A-Za-z0-9]{20,}`, "pscale_": `\w{4,}_[\w.-]{8,}`, "SWMTKN-": `[\w-]{8,}`, "ATTA": `[a-f0-9]{60,}`, "lsv2_": `\w{20,}`, "sbp_": `[a-f0-9]{20,}`, "pat-na1-": `[\w-]{20,}`, "pat-eu1-": `[\w-]{20,}`, "amzn.mws.": `[\w-]{20,}`, "rnd_": `\w{20,}`,
	"bkua_": `\w{20,}`, "FLWSECK": `[\w-]{20,}`, "sk-svcacct-": `[\w-]{8,}`, "sk-admin-": `[\w-]{8,}`, "sk-or-": `[\w-]{8,}`, "glimt-": `[\w-]{8,}`, "glffct-": `[\w-]{8,}`, "AGE-PLUGIN-": `[\w-]{8,}`,
	"xkeysib-": `[\w-]{20,}`, "nfp_": `\w{20,}`, "EAACEdEose0cBA": `\w{8,}`, "CCIPAT_": `\w{20,}`, "CLOJARS_": `\w{20,}`, "AKCp": `\w{20,}`, "t1.": `[\w-]{30,}`, "y0_": `[\w-]{30,}`, "oy2": `[a-z0-9]{43}`,
	"secret_": `[A-Za-z0-9]{40,}`, "ntn_": `[A-Za-z0-9]{20,}`, "phc_": `[A-Za-z0-9]{30,}`,
}

// rulesOf are our own rules. Names of what is secret are judged by names.go.
func rulesOf() []rule {
	named := func(m []string) bool { return namedSecret(tail(m[1]), m[2]) }
	all := []rule{
		own("private key", "private key", `PRIVATE KEY(?: BLOCK)? ?----`, nil),
		own("key file", "private-lines,secret key,static key", `(?m)^Private-Lines: \d|^untrusted comment: .*secret key|-----BEGIN [\w ]*(?:Static|SECRET) [Kk][Ee][Yy]`, nil),
		own("bearer", "bearer", `(?i)\bbearer["']?(?:\s+|:\s*|%20|\+)["']?([\w.~+/=-]{3,})`, func(m []string) bool {
			return !bearerWords[strings.ToLower(strings.TrimRight(m[1], ".,"))]
		}),
		own("basic", "basic", `(?i)\bbasic\s+([A-Za-z0-9+/_-]{6,}={0,2})`, func(m []string) bool {
			raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(m[1], "="))
			return err == nil && userPassword(string(raw))
		}),
		own("cookie", "cookie", `(?i)\b(?:set-)?cookie2?\\?["']?\s*[:=]\s*\\?["']?[^\s=;:"'\\{]+=[^\s;"']{2,}`, nil),
		own("password in a URL", "://", `://[^\s/:@"'\[]*:([^\s@"']+)@`, func(m []string) bool { return !reference.MatchString(m[1]) && !portAndPath.MatchString(m[1]) }),
		own("password of a mail address in a URL", "://", `://[^\s/:@"'\[]+@[^\s/:@"'\[]+:([^\s/@"']+)@`, func(m []string) bool { return !reference.MatchString(m[1]) }),
		own("password of Oracle", "@", `(?i)(?:\bthin:|\bsqlplus\s+(?:-\S+\s+)*)["']?[\w$#.-]+/([^\s@"']+)@|(?:^|[\s"'=])[\w$#.-]+/([^\s/@"']+)@(?://)?[\w.-]+:\d+[/:]\w`, func(m []string) bool {
			return !reference.MatchString(m[1] + m[2])
		}),
		own("token in a URL", "://", `(?i)\b(?:https?|nats|tls)://([^\s/:@"'?#]{3,}):?@`, func(m []string) bool { return m[1] != "git" && !reference.MatchString(m[1]) }),
		own("signed URL", "sig", `(?i)[?&;](?:sig|signature|x-amz-signature|x-goog-signature|x-amz-credential|x-amz-security-token)=[^&\s"']{3,}`, nil),
		own("key in a URL", "://", `(?i)://[^\s"']*[?&](?:code|key|api_?key|auth|hapikey|authkey)=([^&\s"'/.]{8,})`, func(m []string) bool { return !reference.MatchString(m[1]) }),
		own("shared access signature", "sig=", `(?i)(?:^|["'\s;])sig=[^&\s"']{16,}`, nil),
		own("webhook", "hook,integration", `(?i)https?://[^\s"'/]+/(?:[\w.@-]+/)*(?:hooks?|\w*webhooks?(?:b2)?|integrations?)/(?:[\w.@-]+/)*([\w-]{20,})`, func(m []string) bool {
			return strings.ContainsFunc(m[1], unicode.IsUpper) || len(digits.FindAllString(m[1], 3)) == 3
		}),
		own("host of webhooks", "hooks.", `(?i)https?://hooks\.[\w.-]+/\w+/[\w/-]{8,}`, nil),
		own("data source name", "@", `(?:^|[\s"'=])[\w.-]+:([^\s:@/"']+)@(?:(?:tcp|unix)\(|([\w.-]+):\d)`, func(m []string) bool {
			return !reference.MatchString(m[1]) && m[2] != "sha256" && m[2] != "sha512"
		}),
		own("pgpass", "pgpass,:5432:,:6432:,:*:", `(?:^|[\s"'])(?:localhost|\*|[\w-]*\.[\w.-]+):(?:\d{2,5}|\*):[^\s:"']+:[^\s:"']+:([^\s:"']+)(?:[\s"']|$)`, func(m []string) bool { return !reference.MatchString(m[1]) }),
		own("sasl_passwd", "]:", `(?m)^\[[\w.-]+\](?::\d+)?[ \t]+[^\s:]+:\S+[ \t]*$`, nil),
		own("user of Redis", "user", `(?m)^[ \t]*user[ \t]+\S+[ \t]+(?:on|off)[ \t][^\n]*>\S`, nil),
		own("flag in a list", "--", `["'\s\[,]--([A-Za-z][\w.-]{0,127})["']?\s*,\s*["']?([^\s"',\]-][^\s"',\]]*)|-[ \t]+["']?--([A-Za-z][\w.-]{0,127})["']?[ \t\r]*\n[ \t]*-[ \t]+["']?([^\s"'-][^\s"']*)`, func(m []string) bool {
			return namedSecret(tail(m[1]+m[3]), m[2]+m[4])
		}),
		own("login of a script", ".auth(", `\.auth\(\s*["'][^"']+["']\s*,\s*["']([^"']+)`, nil),
		own("netrc", "machine,default", `(?i)(?:^|\s)(?:machine\s+\S+|default)\s(?:\s*(?:login|account|user)\s+\S+\s)*\s*(?:password|passwd)\s+\S`, nil),
		own("element", "</,/>", `<(?:[\w-]+:)?([\w.-]{1,128})(?:\s[^<>]*)?>\s*(?:<!\[CDATA\[)?\s*([^\s<>\]][^\s<>\]]*)`, named),
		own("attribute before value", "value,content", `(?i)<[^<>]*?\b(?:key|name|id)\s*=\s*["']([\w./:-]{1,128})["'][^<>]*?\s(?:value|content)\s*=\s*["']([^"']+)`, named),
		own("value before attribute", "value,content", `(?i)<[^<>]*?\b(?:value|content)\s*=\s*["']([^"']+)["'][^<>]*?\s(?:key|name|id)\s*=\s*["']([\w./:-]{1,128})["']`, func(m []string) bool {
			return namedSecret(tail(m[2]), m[1])
		}),
		own("element with a name", "</", `(?i)<[\w:.-]+\s+(?:key|name|id)\s*=\s*["']([\w./:-]{1,128})["'][^<>]*>\s*(?:<!\[CDATA\[)?\s*(?:<(?:value|string)>\s*)?([^\s<>\]]+)`, named),
		own("property list", "<key>", `(?i)<key>\s*([\w./:-]{1,128})\s*</key>\s*<(?:string|data|integer)>\s*([^\s<>]+)`, named),
		own("element with children", "</", `(?i)<(?:name|key)>\s*([\w./:-]{1,128})\s*</(?:name|key)>\s*<value>\s*([^\s<>]+)`, named),
		own("name, then value", "value", `(?i)\b(?:name|key)\\?["']?\s*[:=]\s*\\?["']?([\w./-]{1,128})\\?["']?[,\s]+\\?["']?value\\?["']?\s*[:=]\s*\\?["']?([^\s"'#\\]+)`, named),
		own("value, then name", "value", `(?i)\bvalue\\?["']?\s*[:=]\s*\\?["']?([^\s"'#\\,]+)\\?["']?[,\s]+\\?["']?(?:name|key)\\?["']?\s*[:=]\s*\\?["']?([\w./-]{1,128})`, func(m []string) bool {
			return namedSecret(tail(m[2]), m[1])
		}),
		own("flag", " -,\t-,\n-,--", `(?:^|\s)--?([A-Za-z][\w.-]{0,127})\s+["']?([^\s"'<>|&;-][^\s"']*)`, named),
		own("telegram", "bot", `\bbot\d{6,}:[\w-]{30,}`, nil),
		own("hash in LDAP", "{s,{m,{c,{p", `\{(?:PLAIN|CLEAR(?:TEXT)?)\}\S|\{(?:S?SHA\d*|S?MD5|CRYPT|PBKDF2[\w-]*)\}[\w+/=.$]{8,}`, nil),
		own("complex key of YAML", "?", `(?m)^\s*\?\s+["']?([\w.-]{1,128})["']?\s*\n\s*:\s+["']?([^\s"']+)`, named),
		own("secret of Kubernetes", "kind", `(?ms)^[\s-]*kind:\s*["']?Secret["']?\s*$.*^[ \t]*(?:data|stringData):\s*\n[ \t]+\S|^[\s-]*(?:data|stringData):\s*\n[ \t]+\S.*^\s*kind:\s*["']?Secret["']?\s*$`, nil),
		own("chpasswd", "chpasswd", `\S+:([^\s"']+)["']?\s*\|\s*(?:sudo\s+)?chpasswd`, func(m []string) bool { return !reference.MatchString(m[1]) }),
		own("chpasswd of cloud-init", "chpasswd", `chpasswd["']?\s*:[\s\S]{0,128}?\blist["']?\s*:[\s|>\["'-]*[\w.-]+:\S`, nil),
		own("fed by echo", "stdin,passwd", `\b(?:echo|printf)\s+(?:-\w+\s+)*(?:["']([^"'\n]+)["']|([^\s"'|]+))\s*\|(?:[^\n|]*--(?:password-)?stdin\b|\s*(?:sudo\s+)?(?:smb)?passwd\b)`, func(m []string) bool { return !reference.MatchString(m[1] + m[2]) }),
		own("header of a proxy", "set_header,add_header,header_up,requestheader,set-header,add-header,fastcgi_param,uwsgi_param,setenv", `(?i)\b(?:\w+_(?:set|add)_header|add_header|header_up|RequestHeader\s+\w+|(?:set|add)-header|fastcgi_param|uwsgi_param|SetEnv)\s+["']?([\w-]{1,128})["']?\s+["']?([^\s"';]+(?: [^\s"';]+)?)`, func(m []string) bool {
			return m[2][0] != '$' && named(m)
		}),
		own("user of a line", "user", `(?im)^\s*user(?:name)?\s+(\S+)\s+(?:privilege\s+\d+\s+)?(?:insecure-)?(?:password|secret|pass)\s+(?:\d\s+)?([^\s;]+)`, func(m []string) bool { return !prose[strings.ToLower(m[1])] && !reference.MatchString(m[2]) }),
		own("key of a network device", "-server,isakmp,-key,-psk", `(?i)\b(?:(?:radius|tacacs)-server\b[^\n]*\bkey|isakmp\s+key|(?:authentication|shared|encryption)-key|wpa-psk|pre-shared-key\b[^\n]*\bkey)\s+(?:\d\s+)?["']?[^\s"'=:]`, nil),
		own("element with a value", "value", `(?i)<(?:[\w-]+:)?([\w.-]{1,128})\s[^<>]*?\bvalue\s*=\s*["']([^"']+)["']`, named),
		own("setting of the environment", "setenv,setx,env,setenvironmentvariable", `(?m)(?:\bsetenv|\bsetx|^\s*ENV|(?i:\bSetEnvironmentVariable|\bputenv|\bsetenv)\s*\()\s*["']?([A-Za-z_][\w.-]{0,127})["']?[\s,]+["']?([^\s"',]+)`, named),
		own("quoted", "password,passwd,pwd,passphrase,requirepass,masterauth,identified,securestring", `(?i)(?:\b(?:password|passwd|pwd|passphrase|requirepass|masterauth)|\bidentified\s+(?:with\s+\S+\s+)?by|\bconvertto-securestring(?:\s+-(?:string|asplaintext|force))*)[\s(]+["']([^"'\s]+)["']`, func(m []string) bool {
			return !reference.MatchString(m[1]) && !settings[strings.ToLower(m[1])]
		}),
		own("name and value on a line", "pass,pw,pwd,masterauth", `(?im)^\s*([\w.-]{0,64}(?:pass|passwd|password|passphrase|requirepass|masterauth|pw|pwd))[ \t]+(?:--\w+[ \t]+)?([^\s"'=:][^\s"']*)[ \t\r]*$`, func(m []string) bool {
			return named(m) && !prose[strings.ToLower(m[2])] && !aboutTail(strings.ToLower(m[2]))
		}),
		own("password hash", "$", `\$(?:1|5|6|2[abxy]|y|7|apr1|argon2id?|argon2i|scrypt|pbkdf2-sha\d+)\$[\w./$,=+-]{16,}`, nil),
		own("JWT", "ey", `\bey[JI][A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*`, nil),
		own("terraform cloud", ".atlasv1.", `[A-Za-z0-9]{8,}\.atlasv1\.[\w=-]{8,}`, nil),
		own("ansible vault, sops", "$ansible_vault", `\$ANSIBLE_VAULT;`, nil),
	}
	for prefix, rest := range prefixes {
		all = append(all, own(prefix, strings.ToLower(prefix), `(?:^|[^A-Za-z0-9])`+regexp.QuoteMeta(prefix)+rest, nil))
	}
	return slices.Concat(all, clientRules(), gitleaks())
}

// prose are words that follow "password" or "user" in a sentence or a heading.
var prose = words("and or is are the a an of for with in to protected reset authentication rotation manager change changed required hash hashed store service expired")

var digits = lazyre.New(`[0-9]`)

// portAndPath follow a host.
var portAndPath = lazyre.New(`^\d{0,5}[/?#]`)

// bearerWords follow "bearer" in prose and in settings.
var bearerWords = words("token tokens auth authentication authorization format scheme header headers is are credentials in for jwt method methods only of and or the with to type as " +
	"grant required optional string security plants null none realm error scope")

//go:embed gitleaks.toml
var gitleaksTOML string

// left are the rules of gitleaks that are not ours: of identifiers and public keys, and those that guess by names, as
// we do with more care.
var left = lazyre.New(`-client-id$|-pub(?:lic)?(?:-api)?-key$|-access-id$|-user-api-id$|^generic-api-key$|^hashicorp-tf-password$|^pkcs12-file$|^sidekiq-sensitive-url$|^curl-auth-`)

// gitleaks reads the rules. The file is generated: one assignment a line, literal strings in three quotes, lists with
// an item a line.
func gitleaks() []rule {
	var all []rule
	var r *rule
	inKeywords := false
	for line := range strings.Lines(gitleaksTOML) {
		line = strings.TrimSpace(line)
		name, value, _ := strings.Cut(line, " = ")
		switch {
		case line == "[[rules]]":
			all = append(all, rule{})
			r = &all[len(all)-1]
		case strings.HasPrefix(line, "["):
			r = nil // allowlists: what they allow in a repository is hidden here
		case r == nil:
		case inKeywords:
			if inKeywords = line != "]"; inKeywords {
				r.keywords = append(r.keywords, unquote(strings.TrimSuffix(line, ",")))
			}
		case name == "id":
			r.id = unquote(value)
		case name == "regex":
			r.regex = lazily(strings.Trim(value, "'"))
		case name == "entropy":
			r.entropy, _ = strconv.ParseFloat(value, 64)
		case name == "secretGroup":
			r.group, _ = strconv.Atoi(value)
		case name == "keywords" && value == "[":
			inKeywords = true
		case name == "keywords":
			for item := range strings.SplitSeq(strings.Trim(value, "[]"), ",") {
				r.keywords = append(r.keywords, unquote(strings.TrimSpace(item)))
			}
		}
	}
	kept := all[:0]
	for _, r := range all {
		if r.regex != nil && !left.MatchString(r.id) {
			kept = append(kept, r)
		}
	}
	return kept
}

func unquote(s string) string {
	plain, err := strconv.Unquote(s)
	if err != nil {
		return s
	}
	return plain
}

// finder finds keywords in one pass: by the first two bytes, in small letters.
type finder struct {
	rules []rule
	at    [1 << 16][]keyword
}

type keyword struct {
	text string
	rule int
}

var rules = sync.OnceValue(func() *finder {
	f := &finder{rules: rulesOf()}
	for i, r := range f.rules {
		for _, k := range r.keywords {
			if len(k) == 1 {
				for second := range 1 << 8 {
					f.at[int(k[0])<<8|second] = append(f.at[int(k[0])<<8|second], keyword{k, i})
				}
				continue
			}
			first := int(k[0])<<8 | int(k[1])
			f.at[first] = append(f.at[first], keyword{k, i})
		}
	}
	return f
})

// shapes tries the rules whose keywords are in s.
func (c *scan) shapes(s string) bool {
	f := rules()
	var tried map[int]bool
	c.steps += len(s)
	for i := 0; i+1 < len(s); i++ {
		for _, k := range f.at[int(lower(s[i]))<<8|int(lower(s[i+1]))] {
			if tried[k.rule] || len(s)-i < len(k.text) || !strings.EqualFold(s[i:i+len(k.text)], k.text) {
				continue
			}
			if tried == nil {
				tried = map[int]bool{}
			}
			tried[k.rule] = true
			c.steps += len(s)
			if f.rules[k.rule].matches(s) {
				return true
			}
		}
	}
	return false
}

func lower(b byte) byte {
	if b >= 'A' && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}

// matches tries every match of the rule in s.
func (r rule) matches(s string) bool {
	if r.is == nil && r.entropy == 0 {
		return r.regex().MatchString(s)
	}
	for _, m := range r.regex().FindAllStringSubmatch(s, -1) {
		switch {
		case r.is != nil:
			if r.is(m) {
				return true
			}
		case entropy(r.secret(m)) >= r.entropy:
			return true
		}
	}
	return false
}

// secret is the part of a match whose entropy counts.
func (r rule) secret(m []string) string {
	if r.group > 0 {
		return m[r.group]
	}
	for _, group := range m[1:] {
		if group != "" {
			return group
		}
	}
	return m[0]
}

// entropy is Shannon's, in bits a byte.
func entropy(s string) float64 {
	var counts [256]int
	for i := range len(s) {
		counts[s[i]]++
	}
	var e float64
	for _, n := range counts {
		if n > 0 {
			p := float64(n) / float64(len(s))
			e -= p * math.Log2(p)
		}
	}
	return e
}
