package secretlike

import (
	"regexp"
	"slices"
	"strings"
	"sync"
)

// client is a command that takes a secret in a way of its own.
type client struct {
	name string // an expression; the words that it begins with are keywords
	arg  string // an expression of what comes before the secret, behind the name
}

// clients are those of the commands that are met in scripts of machines. --password and the like are known by name.
var clients = []client{
	{`sshpass`, `\s+-p\s*`},
	{`mysql\w*`, `\b[^\n|;]*\s-p`},
	{`mysqladmin`, `\b[^\n|;]*\spassword\s+`},
	{`mongo\w*`, `\b[^\n|;]*\s-p\s+`},
	{`redis-cli`, `\b[^\n|;]*\s-a\s+`},
	{`sqlcmd`, `\b[^\n|;]*\s-P\s*`},
	{`bcp`, `\b[^\n|;]*\s-P\s*`},
	{`docker login`, `\b[^\n|;]*\s-p\s*`},
	{`podman login`, `\b[^\n|;]*\s-p\s*`},
	{`az login`, `\b[^\n|;]*\s-p\s+`},
	{`htpasswd`, `\s+-\w*b\w*\s+\S+\s+\S+\s+`},
	{`useradd`, `\b[^\n|;]*\s-p\s+`},
	{`usermod`, `\b[^\n|;]*\s-p\s+`},
	{`ldap\w+`, `\b[^\n|;]*\s-w\s+`},
	{`ssh-keygen`, `\b[^\n|;]*\s-N\s+`},
	{`zip`, `\b[^\n|;]*\s-P\s*`},
	{`unzip`, `\b[^\n|;]*\s-P\s*`},
	{`7z`, `\s[^\n|;]*\s-p`},
	{`openssl enc`, `\b[^\n|;]*\s-k\s+`},
	{`openssl`, `\b[^\n|;]*\bpass:`},
	{`vault login`, `\s+(?:-\S+\s+)*`},
	{`vault kv put`, `\b[^\n|;]*\s[\w.-]+=`},
	{`kubectl`, `\b[^\n|;]*\bsecret\b[^\n|;]*\s--from-literal[= ][\w.-]+=`},
	{`consul agent`, `\b[^\n|;]*\s-encrypt[= ]\s*`},
	{`rabbitmqctl`, `\s+(?:-\S+\s+)*(?:add_user|change_password)\s+\S+\s+`},
	{`aws configure`, `\s+set\s+(?:\S+\.)?aws_(?:secret_access_key|session_token)\s+`},
	{`rclone`, `\b[^\n|;]*\s(?:pass|password)\s+`},
	{`snmp-server`, `\s+community\s+`},
	{`smbclient`, `\b[^\n|;]*\s-U\s*[^\s%]+%`},
	{`lftp`, `\b[^\n|;]*\s-u\s*[^\s,]+,`},
	{`net use`, `\b[^\n|;]*\s/user:\S+\s+`},
	{`net user`, `\s+[\w.-]+\s+`},
	{`etcdctl`, `\b[^\n|;]*\s--user[= ]\s*[^\s:]+:`},
	{`curl`, `\b[^\n|;]*\s(?:-u|--user|-U|--proxy-user)[= ]?\s*["']?[^\s:"']+:`},
	{`curl`, `\b[^\n|;]*\s(?:-b|--cookie)[= ]?\s*["']?[^\s="']+=`},
}

// clientLine finds the secret of a client as its only group.
var clientLine = sync.OnceValue(func() *regexp.Regexp {
	all := make([]string, len(clients))
	for i, c := range clients {
		all[i] = strings.ReplaceAll(c.name, " ", `\s+`) + c.arg
	}
	return regexp.MustCompile(`\b(?:` + strings.Join(all, "|") + `)["']?([^\s"'=-][^\s"']*)`)
})

// clientWords are keywords of the rule, in small letters.
func clientWords() []string {
	var all []string
	for _, c := range clients {
		word, _, _ := strings.Cut(c.name, " ")
		all = append(all, strings.TrimSuffix(strings.TrimSuffix(word, `\w*`), `\w+`))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// usedByClient decides on a match of clientLine.
func usedByClient(m []string) bool {
	return !reference.MatchString(m[1]) && !strings.HasPrefix(m[1], "/")
}

// clientSecret reports whether a command line has a secret of its client in it.
func clientSecret(line string) bool {
	return slices.ContainsFunc(clientLine().FindAllStringSubmatch(line, -1), usedByClient)
}
