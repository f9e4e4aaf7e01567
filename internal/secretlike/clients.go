package secretlike

import (
	"slices"
	"strings"
	"sync"
)

// client is a command that takes a secret in a way of its own.
type client struct {
	name string // in small letters, with \w behind it where others begin with it
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
	{`config set`, `\s+(?:requirepass|masterauth)\s+`},
	{`stats auth`, `\s+[^\s:]+:`},
	{`smbclient`, `\b[^\n|;]*\s-U\s*[^\s%]+%`},
	{`lftp`, `\b[^\n|;]*\s-u\s*[^\s,]+,`},
	{`net use`, `\b[^\n|;]*\s/user:\S+\s+`},
	{`net user`, `\s+[\w.-]+\s+`},
	{`etcdctl`, `\b[^\n|;]*\s--user[= ]\s*[^\s:]+:`},
	{`curl`, `\b[^\n|;]*\s["']?(?:-u|--user|-U|--proxy-user)["']?[,= ]?\s*["']?[^\s:"']+:`},
	{`curl`, `\b[^\n|;]*\s(?:-b|--cookie)[= ]?\s*["']?[^\s="']+=`},
}

// clientRules are the rules of the clients.
var clientRules = sync.OnceValue(func() []rule {
	all := make([]rule, len(clients))
	for i, c := range clients {
		word := strings.TrimSuffix(strings.TrimSuffix(c.name, `\w*`), `\w+`)
		all[i] = own("command line of "+word, word, `\b`+strings.ReplaceAll(c.name, " ", `[ \t]+`)+c.arg+`["']?([^\s"'=-][^\s"']*)`, func(m []string) bool {
			return !reference.MatchString(m[1]) && m[1][0] != '/'
		})
	}
	return all
})

// clientSecret reports whether a command line has a secret of its client in it.
func clientSecret(line string) bool {
	return slices.ContainsFunc(clientRules(), func(r rule) bool { return strings.Contains(line, r.keywords[0]) && r.matches(line) })
}
