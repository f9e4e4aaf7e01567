//go:build unix

package dynamo_test

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/statelatch/statelatch/internal/dynamotest"
)

// dynalite is the version that CI installs or npx fetches.
const dynalite = "dynalite@4.0.0"

func TestTable_Conformance_Fake(t *testing.T) {
	t.Parallel()
	table, _ := fake(t)
	dynamotest.Run(t, table)
}

func TestTable_Conformance_Moto(t *testing.T) {
	if _, err := exec.LookPath("moto_server"); err != nil {
		t.Skip("moto_server is not installed: pip install 'moto[server]'")
	}
	endpoint := emulator(t, "moto_server", "-H", "127.0.0.1", "-p")
	t.Parallel()
	// It looks first and acts then, in many threads: seen to give one lock to two clients.
	dynamotest.Run(t, open(t, endpoint), "contention/lock", "contention/replace", "contention/replace-against-unlock", "contention/digest")
}

func TestTable_Conformance_Dynalite(t *testing.T) {
	command := []string{"dynalite"}
	if _, err := exec.LookPath(command[0]); err != nil {
		if _, err := exec.LookPath("npx"); err != nil {
			missing(t, "neither dynalite nor npx is installed")
		}
		command = []string{"npx", "--yes", "--prefer-offline", dynalite}
	}
	endpoint := emulator(t, append(command, "--host", "127.0.0.1", "--createTableMs", "0", "--port")...)
	t.Parallel()
	dynamotest.Run(t, open(t, endpoint))
}

// missing skips the test, or fails it on CI.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// emulator starts a server, whose command ends before its port, in a process group of its own, makes the table in it and
// returns its URL. The group is stopped when the test ends. Tests call it before t.Parallel: until the server listens, a
// test beside it could be given its port.
func emulator(t *testing.T, command ...string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("-short starts no emulator")
	}
	// The kernel chooses a port that nothing listens on.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(addr)

	var output bytes.Buffer
	cmd := exec.Command(command[0], append(command[1:], port)...)
	cmd.Dir = t.TempDir()
	// A registry that cannot be reached is to be noticed soon.
	cmd.Env = append(os.Environ(), "npm_config_fetch_retries=0", "npm_config_fetch_timeout=20000", "npm_config_update_notifier=false")
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-done
	})
	for deadline := time.Now().Add(patience); ; {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
			break
		}
		select {
		case <-done:
			missing(t, "%s ended: %v\n%s", command[0], cmd.ProcessState, output.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen on %s", strings.Join(command, " "), port)
		}
	}

	endpoint := "http://" + addr
	client := dynamodb.New(dynamodb.Options{
		BaseEndpoint: &endpoint, Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secretexample", ""),
	})
	_, err = client.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName:            aws.String(tableName),
		BillingMode:          types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("LockID"), KeyType: types.KeyTypeHash}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("LockID"), AttributeType: types.ScalarAttributeTypeS}},
	})
	if err != nil {
		t.Fatalf("CreateTable: %v", err)
	}
	if err := dynamodb.NewTableExistsWaiter(client, func(o *dynamodb.TableExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, 200*time.Millisecond
	}).Wait(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(tableName)}, patience); err != nil {
		t.Fatal(err)
	}
	return endpoint
}
