package secretlike

import (
	"encoding/base64"
	"slices"
	"strings"
	"unicode"

	"github.com/statelatch/statelatch/internal/lazyre"
)

// class is what a name says of the value under it.
type class int

const (
	classNone   class = iota // nothing, or that it is about a secret: its type, its length, its ARN
	classWeak                // a text under it is a secret, what is below it is settings
	classSecret              // it is a secret
)

func words(s string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(s) {
		m[w] = true
	}
	return m
}

var (
	// secretWords say it anywhere in a name, lastWords as its last word, secretEnds at the end of a word, and
	// secretKeys before the word "key" or "keys".
	secretWords = words("password passwords passwd passwords pwd pword passphrase passcode passkey pin otp totp secret secrets token tokens jwt " +
		"sensitive puk mnemonic credential credentials cred creds pem psk privatekey secretkey accesskey apikey passwort kennwort senha contrasena contraseña motdepasse wachtwoord salasana hasło heslo lösenord пароль 密码 密碼 パスワード rootpw privkey")
	lastWords  = words("pat passe mdp pass pw psw pswd passw requirepass masterauth")
	secretEnds = strings.Fields("password passwd passphrase pwd pass pw secret token apikey privatekey secretkey accesskey kubeconfig credential")
	secretKeys = words("private secret access api auth account customer encryption decryption signing shared session license master primary secondary client " +
		"preshared shared integration functions function hmac aes cipher storage admin root application unseal recovery service deployment ingestion authorization app subscription age activation product")
	// ambiguousKeys are those of a storage account, and of a table's columns.
	ambiguousKeys = words("primary secondary")
	// noPass end with "pass" and are none.
	noPass = words("bypass compass encompass trespass surpass overpass underpass impasse multipass")

	// aboutTails make of a name one of something about a secret, if they are its last word.
	aboutTails = words("type kind class id arn name length size bit ttl lifetime expiry expiration expire expires version enabled disabled required optional rotation " +
		"day age time timestamp count path file filename dir directory format algorithm alg usage url uri endpoint ref reference store manager provider mode " +
		"status state suffix issuer audience scope claim created updated modified changed used at date period second minute hour window limit min max minimum " +
		"maximum duration timeout source engine backend role curve description label title reset change fingerprint thumbprint policy " +
		"cidr use method user username email login owner domain host hostname port region zone group subnet service validity unit interval " +
		"prevention history complexity threshold attempt retries retry permission privilege right grant expression acl provisioner operation operator strategy behavior behaviour action effect selector accessor number quantity field header column stdin process encryption prefix namespace revision set expired scanning protection command")
	// weakTails make of it one of settings.
	weakTails = words("config configuration settings setting options option block spec params parameters attributes properties rules rule requirements restrictions metadata")
	// leads make of it a question.
	leads = words("allowed require requires required allow allows enable enables enabled disable disables disabled manage manages managed rotate rotates use uses has is " +
		"force minimum maximum max min ignore skip generate number num validate existing load import")
	// passedOn come before a "pass" that is none: nginx' proxy_pass, by-pass, first_pass.
	passedOn  = words("proxy fastcgi uwsgi scgi grpc memcached by first second single multi two")
	countable = words("http max min num number total input output prompt completion dkim")
	// plainSegments say nothing by themselves at the end of a dotted name.
	plainSegments = words("value data text raw default string plain plaintext content")
)

// classOf judges a name, as of an attribute, a variable, a header or a parameter with a path.
func classOf(name string) class {
	name = tail(name)
	if i := strings.LastIndexAny(name, ":/"); i >= 0 && i < len(name)-1 {
		name = name[i+1:] // aws:TokenIssueTime, /prod/db/password, token.actions.githubusercontent.com:sub
	}
	if keyFiles[strings.ToLower(name)] {
		return classSecret
	}
	if above, last, two := strings.Cut(name, "."); two && !strings.Contains(last, ".") && manySecrets(above) {
		return classSecret // passwords.alice
	}
	for strings.Contains(name, ".") { // spring.datasource.password, environment.0.value
		i := strings.LastIndexByte(name, '.')
		last := split(name[i+1:])
		if len(last) == 0 || len(last) == 1 && (last[0] == "" || plainSegments[last[0]]) {
			name = name[:i]
			continue
		}
		name = name[i+1:]
	}
	segments := split(name)
	if len(segments) == 0 {
		return classNone
	}
	last := segments[len(segments)-1]
	switch {
	case !secretWithin(segments), leads[segments[0]] && len(segments) > 1:
		return classNone
	case len(segments) > 1 && (aboutTail(last) || last == "spec" && segments[len(segments)-2] == "key"):
		return classNone
	case weakTails[last] && segments[0] != "kube":
		return classWeak
	case len(segments) > 1 && last == "key" && ambiguousKeys[segments[len(segments)-2]]:
		return classWeak
	}
	return classSecret
}

// keyFiles are names of files with private keys, as Kubernetes' secrets of TLS and SSH have them.
var keyFiles = words("tls.key ssl.key server.key client.key ca.key id_rsa id_dsa id_ecdsa id_ed25519 ssh-privatekey")

// manySecrets reports whether a name is one of several secrets, which have names of their own below it.
func manySecrets(name string) bool {
	segments := split(name)
	return len(segments) > 0 && (segments[len(segments)-1] == "passwords" || segments[len(segments)-1] == "secrets")
}

// aboutTail reports whether a last word makes a name harmless, in the plural, too.
func aboutTail(w string) bool {
	return aboutTails[w] || aboutTails[strings.TrimSuffix(w, "s")] || strings.HasSuffix(w, "ies") && aboutTails[strings.TrimSuffix(w, "ies")+"y"]
}

// secretWithin reports whether a name in words has one of a secret in it.
func secretWithin(segments []string) bool {
	public := slices.Contains(segments, "public") || slices.Contains(segments, "pub")
	for i, s := range segments {
		before := ""
		if i > 0 {
			before = segments[i-1]
		}
		switch {
		case s == "tokens" && countable[before], s == "pem" && public, s == "secrets" && before == "pull", s == "sensitive" && before == "case": // http_tokens = "required", public_key_pem
			continue
		case secretWord(s):
			return true
		case lastWords[s] && i == len(segments)-1 && !passedOn[before]:
			return true
		case before == "pass" && (s == "word" || s == "words" || s == "phrase" || s == "code" || s == "key"):
			return true
		case before == "":
			continue
		}
		switch strings.TrimSuffix(s, "s") {
		case "key":
			if secretKeys[before] {
				return true
			}
		case "string", "str", "config":
			if (before == "connection" || before == "conn") && s != "config" || segments[0] == "kube" || before == "community" && s == "string" {
				return true
			}
		case "signature":
			if before == "access" {
				return true
			}
		case "community", "phrase", "seed":
			if before == "snmp" || before == "seed" || before == "mfa" {
				return true
			}
		case "verify", "cookie": // X-Origin-Verify, RABBITMQ_ERLANG_COOKIE
			if before == "origin" && s == "verify" || before == "erlang" {
				return true
			}
		}
	}
	return false
}

// secretWord knows dbpassword, passwordhash and dbtokens, too.
func secretWord(s string) bool {
	if secretWords[s] || strings.Contains(s, "password") && s != "passwordless" {
		return true
	}
	single := strings.TrimSuffix(s, "s")
	return len(s) > 3 && !noPass[s] && slices.ContainsFunc(secretEnds, func(end string) bool {
		return strings.HasSuffix(s, end) && len(s) > len(end) || end != "pass" && strings.HasSuffix(single, end) && len(single) > len(end)
	})
}

// secretNumber reports whether a number of that name is a secret: pin is one, password_length is none.
func secretNumber(name string) bool {
	segments := split(name)
	return len(segments) > 0 && classOf(name) == classSecret && secretWithin(segments[len(segments)-1:])
}

// split cuts a name in snake_case, kebab-case, CamelCase, DBCamelCase or ALL_CAPS into words in small letters, without
// the number that a word ends with.
func split(name string) []string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if i > 0 && unicode.IsUpper(r) {
			before := runes[i-1]
			if !unicode.IsUpper(before) || i+1 < len(runes) && unicode.IsLower(runes[i+1]) {
				b.WriteByte(' ')
			}
		}
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			r = ' '
		}
		b.WriteRune(unicode.ToLower(r))
	}
	words := strings.Fields(b.String())
	for i, w := range words {
		if w != "base64" {
			words[i] = strings.TrimRight(w, "0123456789")
		}
	}
	return words
}

// settings are words that are values of settings and of no secret.
var settings = words("required optional enabled disabled enable disable true false yes no on off none null nil undefined unset auto " +
	"seconds minutes hours days weeks string str text bool boolean int integer number object bytes list map any " +
	"active inactive sensitive redacted masked hidden ~")

var (
	arn = lazyre.New(`^arn:[a-z-]*:[A-Za-z0-9-]+:[a-z0-9-]*:[0-9A-Za-z*]*:[^\s"'=&;]*$`)
	// reference is a value that says where the secret is.
	reference = lazyre.New(`^(?:` + strings.Join([]string{
		`alias/[\w/-]+`,
		`projects/[\w-]+/(?:secrets|locations)/[\w/-]+`,
		`https://[\w-]+\.vault\.(?:azure\.net|azure\.cn|usgovcloudapi\.net)/[\w/-]+`,
		`(?:op|vault|gcpsm|awssm|ssm|secretsmanager)://[\w/.#-]+`,
		`vault:[\w/.-]+#[\w.-]+`,
		`\$[A-Z][A-Z0-9_]*`, `\$\{[A-Za-z_][\w.\[\]"]*\}`, // $NAME, ${var.name}
		`\$\((?:aws|gcloud|az|vault|op|kubectl|cat|curl|jq|sops|pass|terraform|tofu|chamber|doppler|openssl|pwgen|uuidgen|tr|head) ?[^()]*\)?`,
		`\{\{[^{}]*\}\}`, `\$\{\{[^{}]*\}\}`, `%[A-Z_]+%`, `<[A-Za-z _-]+>`,
		`\$[0-9@]`, `(?:var|local|module|data)\.[a-z_][\w.\[\]"]*`, // $1, var.name
		`\{\$?env\.\w+\}`, `\{\$[A-Z][A-Z0-9_]*\}`, // Caddy's
		`[*!]+`, `\(sensitive(?: value)?\)`, `\(known after apply\)`, `\[?(?i:redacted)\]?`,
	}, "|") + `)$`)
	templated = lazyre.New(`^["']?(?:\{\{|\$\{\{|\$\(<|(?:\$\(|` + "`" + `)(?:aws|gcloud|az|vault|op|kubectl|cat|curl|jq|sops|chamber|doppler|openssl|pwgen|uuidgen|tr|head)[ )])`)
)

// namedSecret reports whether a text under a name is a secret for that name. Settings and references are none.
func namedSecret(name, value string) bool {
	switch value = strings.TrimSpace(value); {
	case value == "", settings[strings.ToLower(value)], arn.MatchString(value), reference.MatchString(value):
		return false
	case classOf(name) != classNone:
		return !publicPEM(value) && (!workingDir[name] || value[0] != '/')
	}
	segments := split(name)
	if len(segments) == 0 {
		return false
	}
	switch last := segments[len(segments)-1]; last {
	case "authorization": // it is also an attribute with AWS_IAM and the like
		if scheme, credentials, two := strings.Cut(value, " "); two && credentialSchemes[strings.ToLower(scheme)] && reference.MatchString(credentials) {
			return false
		}
		return strings.ContainsFunc(value, func(r rune) bool { return r != '_' && !unicode.IsUpper(r) })
	case "cookie":
		return cookiePair.MatchString(value)
	case "auth":
		return userPassword(value)
	case "encrypt": // of consul and nomad
		raw, err := base64.StdEncoding.DecodeString(value)
		return err == nil && len(raw) >= 16
	case "bearer":
		return !bearerWords[strings.ToLower(value)]
	case "id": // a role's secret ID in Vault is one; that of a secret manager is where it is
		return len(segments) > 1 && segments[len(segments)-2] == "secret" && !strings.ContainsAny(value, "/:")
	case "sig", "signature":
		return len(segments) == 1 && last == "sig" && len(value) >= 32
	}
	return false
}

// credentialSchemes are those of the header Authorization whose second word is the secret.
var credentialSchemes = words("basic bearer token apikey splunk negotiate")

// workingDir are variables of shells.
var workingDir = words("PWD OLDPWD")

var (
	cookiePair = lazyre.New(`^[^\s=;]+=[^\s;]+`)
	publicOnly = lazyre.New(`^-----BEGIN (?:[A-Z0-9]+ )*(?:CERTIFICATE|PUBLIC KEY|CERTIFICATE REQUEST|X509 CRL)-----`)
)

// publicPEM reports whether a text is a certificate or a public key, and nothing else.
func publicPEM(s string) bool {
	return publicOnly.MatchString(s) && !strings.Contains(s, "PRIVATE KEY")
}
