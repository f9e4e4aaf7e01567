package secretlike

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

func zlib64(s string) string {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

// The scripts and the settings of machines, as user_data and manifests have them.
func TestText_Machines(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		// scripts
		"mysqladmin -u root password hunter2", "mongo -u u -p hunter2", "mongodump -p hunter2", "docker login -p hunter2 -u u", "az login --service-principal -u x -p hunter2 --tenant t",
		"kubectl create secret generic x --from-literal=foo=hunter2", "sqlcmd -S h -U sa -P hunter2", "bcp x -P hunter2", "smbclient //h/s -U user%hunter2", `net use \\h\s /user:u hunter2`, "lftp -u user,hunter2 h",
		"openssl enc -aes-256-cbc -k hunter2", "openssl rsa -passin pass:hunter2", "zip -P hunter2 x", "unzip -P hunter2 x", "aws configure set aws_secret_access_key hunter2", "etcdctl --user root:hunter2 get", "rabbitmqctl add_user u hunter2",
		"rabbitmqctl change_password u hunter2", "echo 'hunter2' | docker login --password-stdin -u u", "echo hunter2 | passwd --stdin root", `echo -e "hunter2\nhunter2" | passwd root`, "net user admin Hunter2 /add",
		"rclone config create x password hunter2", "consul agent -encrypt hunter2==", `encrypt = "cg8StVXbQJ0gPvMd9o7yrg=="`, "curl -b session=hunter2 h", "sqlplus u/hunter2@db", `["curl","-u","user:hunter2"]`, `["mysql","-phunter2"]`, `["redis-cli","-a","hunter2"]`,
		// settings
		"#cloud-config\nchpasswd:\n  list:\n    - root:hunter2\n", "alice:{PLAIN}hunter2", "proxy_set_header X-Api-Key hunter2;", "RequestHeader set Authorization \"Bearer hunter2\"", "header_up X-Api-Key hunter2", "http-request set-header X-Api-Key hunter2",
		"radius-server key hunter2", "ip ospf authentication-key hunter2", "username admin privilege 15 secret 0 hunter2", "pre-shared-key address 0.0.0.0 key hunter2", "crypto isakmp key hunter2 address 0.0.0.0", "user u password hunter2", "wpa-psk hunter2",
		"a: >\n  {\n  \"token\":\n  \"hunter2\"\n  }\n", "password = '''\nhunter2'''\n", "password = \"\"\"\nhunter2\n\"\"\"", `password = """hunter2"""`, "пароль: hunter2", "密码: hunter2", "パスワード=hunter2", "wachtwoord=hunter2", "mot_de_passe: hunter2",
		`<password value="hunter2"/>`, `{"k":"DB_PASSWORD","v":"hunter2"}`, `{"id":"DB_PASSWORD","value":"hunter2"}`, "DD_APP_KEY=hunter2", "Ocp-Apim-Subscription-Key: hunter2", "subscription-key=hunter2", "tls.key: hunter2", "tls.key: |\n  hunter2\n", "id_rsa: |\n  hunter2\n", `{"kty":"EC","crv":"P-256","x":"a","d":"hunter2"}`,
		"cat <<'EOF' >> /home/app/.pgpass\ndb.example.com:5432:app:app:hunter2\nEOF", `echo "*:*:*:app:hunter2" > ~/.pgpass`, "runcmd:\n  - [curl, -u, 'u:hunter2', 'https://h']\n", `command: ["redis-server", "--requirepass", "hunter2"]`, "args: [--password, hunter2]",
		"args:\n  - --password\n  - hunter2\n", "args:\n- \"--db-password\"\n- \"hunter2\"\n", `CMD ["app", "--token", "hunter2"]`, `password\u003dhunter2`, "masterauth hunter2", "user default on >hunter2 ~* +@all", "bindpw hunter2", "[smtp.gmail.com]:587 user@gmail.com:hunter2",
		"listen stats\n stats auth admin:hunter2", "RABBITMQ_ERLANG_COOKIE=hunter2", "GRANT ALL ON *.* TO 'x'@'%' IDENTIFIED WITH mysql_native_password BY 'hunter2'", "db.auth('u','hunter2')", "config set requirepass hunter2", "SOPS_AGE_KEY=hunter2",
		// URLs and connection strings
		"jdbc:oracle:thin:scott/hunter2@//h:1521/x", "jdbc:oracle:thin:u/hunter2@h:1521:x", "jdbc:sqlserver://h;user=sa;password={hun;ter2}", "u/hunter2@h:1521/ORCL", "nats://hunter2@h:4222", "smtp://u@x.com:hunter2@smtp.h:587", "http://u:hunt/er2@h/x", "http://u:hunt?er2@h/x", "https://hunter2:@h/x",
		"https://events.pagerduty.com/integration/0123456789abcdef0123456789abcdef/enqueue", "https://hooks.zapier.com/hooks/catch/123456/abcdef/",
		// keys and tokens
		"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----", "PuTTY-User-Key-File-2: ssh-rsa\nPrivate-Lines: 1\nAAAAgQ\n", "untrusted comment: minisign encrypted secret key\nRWRTY0IyAAAA", "-----BEGIN OpenVPN Static key V1-----\nabcdef\n",
		"AGE-" + "PLUGIN-YUBIKEY-1QQQQQQQQQ", "xo" + "xc-123456-abcdefgh", "xo" + "xd-abcdefghijkl", "SWM" + "TKN-1-3pu6hszjas19xyp7ghgosyx9k8atbfcr8p2is99znpy26u2lkl-1awxwuwd3z9j1z3puu7rcgdbx", "sb" + "p_0123456789abcdef0123456789abcdef01234567",
		b64("openssh-key-v1\x00\x00\x00\x00\x04none"), b64("0\x82\x0a\x10\x02\x01\x030\x82\x09\xd6"),
		// encodings
		hex.EncodeToString([]byte("password=hunter2")), "x: " + hex.EncodeToString([]byte(`{"password":"hunter2"}`)), zlib64("password=hunter2"), hex.EncodeToString([]byte(b64("password=hunter2"))),
		b64("\x1b[31m\nexport DB_PASSWORD=hunter2\n\x1b[0m"), b64("Stra\xdfe\npassword=hunter2\n"), b64("ustar\x00\x00\x00app.env\x00\x00DB_PASSWORD=hunter2\n\x00\x00"), gz64("\x1b[31m password=hunter2"), gz64(string(packed("password=hunter2"))),
		"content: |\n      " + strings.ReplaceAll(fold(gz64(noise()+"password=hunter2")), "\n", "\n      "),
	} {
		if !Text(s) {
			t.Errorf("shown: %.200q", s)
		}
	}
	for _, s := range []string{
		"scope=secrets:read", "tokens:write", "credential_process = /bin/x", "existingSecret: my-db", "password: (sensitive value)", "password: <your password>", "password: ~", "password = var.db_password", "password = local.password",
		"PASSWORD=`cat /run/x`", "PASSWORD=$(< /run/x)", "PASSWORD=$1", "TOKEN=`curl -s -X PUT http://169.254.169.254/latest/api/token -H \"X-aws-ec2-metadata-token-ttl-seconds: 21600\"`", `curl -H "Authorization: Bearer $TOKEN" https://h`,
		`{"Authorization":"Bearer ${TOKEN}"}`, `curl -u "$USER:$PASS" https://h`, `echo "root:$PASS" | chpasswd`, "aws ecr get-login-password | docker login --username AWS --password-stdin 1.dkr.ecr", "proxy_set_header Authorization $http_authorization;",
		"[Service]\nLoadCredential=db:/etc/creds/db\n", "password_encryption=scram-sha-256", "node:18-alpine@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "args: [--name, x, --password-file, /run/x]", "tcp:22:10.0.0.0/16:a:b",
		"https://h:443/x@y", "http://[::1]:80/x@y", "https://h/docs/webhooks/how-to-set-up-your-own", "org/app@sha256:abc", "acme/app@1.2.3", "mysql -p$DB_PASSWORD", "user data of the secret", `{"kty":"EC","crv":"P-256","x":"a","y":"b"}`,
		"username and password are in SSM", "Password protected", "useradd -m -p '!' x", "rclone copy a b --password-command x", "header_up X-Api-Key {env.KEY}", "https://h/docs/integrations/aws-lambda-layer-version-12-notes",
		"Managed by Terraform", "net user experience", "zip -r x.zip .", "docker run -p 8080:80 nginx", "mysql -h h -P 3306 -u root", "curl -b cookies.txt https://h", "ssh-keygen -t ed25519 -N '' -f k", "vault login -method=aws",
		"kubectl create secret generic x --from-literal=password=$PW", "consul agent -encrypt=$KEY", "aws configure set aws_secret_access_key $X", "echo $TOKEN | docker login --password-stdin -u u ghcr.io", `["password","token"]`, `["-v","--name","x"]`, hex.EncodeToString([]byte("nothing to be seen here")), b64("\x1b[31mnothing to be seen here"), gz64(noise()), "subnet-0a", "net-0123",
	} {
		if Text(s) {
			t.Errorf("hidden: %.200q", s)
		}
	}
}

func packed(s string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.Bytes()
}

// noise is text that does not pack well.
func noise() string {
	var b strings.Builder
	for i := uint32(1); b.Len() < 2000; i++ {
		b.WriteString(hex.EncodeToString([]byte{byte(i * 2654435761 >> 24), byte(i * 40503 >> 8)}) + " ")
	}
	return b.String()
}

// What is unpacked in a text is bounded by its size, however often it is packed and however many pieces there are.
func TestText_UnpackingIsBounded(t *testing.T) {
	t.Parallel()
	bomb := gz64(strings.Repeat("a ", 30<<10))
	for _, s := range []string{strings.Repeat(bomb+"\n", 2000), gz64(strings.Repeat(bomb+"\n", 20_000))} {
		c := new(scan)
		if c.text(s); c.steps > 1000*(len(s)+inflateMore) {
			t.Errorf("%d bytes took %d steps", len(s), c.steps)
		}
	}
}
