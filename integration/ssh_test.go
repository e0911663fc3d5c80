//go:build unix

package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftnet/weft/overlay"
)

// An sshServer is OpenSSH with a host key and a user's key of its own.
type sshServer struct {
	*forwardLab
	addr string
	dir  string
	me   string
}

const sshdConfig = `
ListenAddress %[1]s
HostKey %[2]s/host
AuthorizedKeysFile %[2]s/user.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
PermitRootLogin prohibit-password
`

// newSSHServer starts sshd on loopback.
func newSSHServer(t *testing.T) *sshServer {
	t.Helper()
	s := &sshServer{forwardLab: newForwardLab(t), dir: t.TempDir()}
	sshd, keygen := s.tool("sshd"), s.tool("ssh-keygen")
	s.tool("ssh")
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s.me = me.Username
	if os.Getuid() == 0 {
		// Without it sshd does not start; packages make it when they start the service.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Skipf("sshd cannot run here: %v", err)
		}
	}
	for _, key := range []string{"host", "user"} {
		s.run(nil, keygen, "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(s.dir, key))
	}
	var port string
	s.addr, port = s.freeAddr()
	config := s.write(s.dir, "sshd_config", sshdConfig, "127.0.0.1:"+port, s.dir)
	s.serve(s.addr, sshd, "-D", "-e", "-f", config)
	host, err := os.ReadFile(filepath.Join(s.dir, "host.pub"))
	if err != nil {
		t.Fatal(err)
	}
	s.write(s.dir, "known_hosts", "weft-test %s", host)
	return s
}

// options are those of ssh and of git's.
func (s *sshServer) options(more ...string) []string {
	return append([]string{
		"-F", "none", "-i", filepath.Join(s.dir, "user"), "-l", s.me,
		"-o", "UserKnownHostsFile=" + filepath.Join(s.dir, "known_hosts"), "-o", "HostKeyAlias=weft-test",
		"-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", "ConnectTimeout=60",
	}, more...)
}

// ssh runs a command through a way to the server.
func (s *sshServer) ssh(stdin []byte, env, way []string, command string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.ctx, "ssh", append(s.options(way...), command)...)
	cmd.Env = env
	return s.runCmd(stdin, cmd)
}

func TestOpenSSHThroughAForward(t *testing.T) {
	t.Parallel()
	s := newSSHServer(t)
	binary, err := buildWeft()
	if err != nil {
		t.Fatal(err)
	}
	through := s.to(s.addr)[0]
	data := make([]byte, 8<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	sum := sha256.Sum256(data)
	command := []string{"-o", "ProxyCommand=" + binary + " forward --to stdin %h:%p", "-p", "1000", "kv-1"}
	for _, x := range []struct {
		name string
		way  []string
	}{{"forward", []string{"-p", portOf(t, through), "127.0.0.1"}}, {"ProxyCommand", command}, {"node that is up", command}} {
		t.Run(x.name, func(t *testing.T) {
			env, way := s.environ(s.vars...), x.way
			if x.name == "node that is up" { // and so needs to know no relay
				s.weftWith(s.vars, "up", "--name", "laptop").expect(s.ctx, "up")
				env = append(env, overlay.EnvRelays+"=")
			}
			if out := s.ssh(data, env, way, "sha256sum"); !strings.HasPrefix(out, hex.EncodeToString(sum[:])) {
				t.Errorf("what arrived has the sum %s", out)
			}
			if out := s.ssh(data, env, way, "cat"); out != string(data) {
				t.Errorf("%d bytes came back, want %d", len(out), len(data))
			}
			cmd := exec.CommandContext(s.ctx, "ssh", append(s.options(way...), "echo gone >&2; exit 7")...)
			cmd.Env = env
			var errs bytes.Buffer
			cmd.Stderr = &errs
			_ = cmd.Run()
			if cmd.ProcessState.ExitCode() != 7 || !strings.Contains(errs.String(), "gone") {
				t.Errorf("exit code %d, %q", cmd.ProcessState.ExitCode(), &errs)
			}
		})
	}
}

func TestGitOverSSHThroughAForward(t *testing.T) {
	t.Parallel()
	s := newSSHServer(t)
	git := s.tool("git")
	through := s.to(s.addr)[0]
	repo, clone := filepath.Join(s.dir, "repo"), filepath.Join(s.dir, "clone")
	s.run(nil, git, "init", "-q", "-b", "main", repo)
	big := make([]byte, 4<<20)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(big)
	s.write(repo, "big", "%s", big)
	s.write(repo, "small", "hello\n")
	in := []string{"-C", repo, "-c", "user.name=test", "-c", "user.email=test@example.org"}
	s.run(nil, git, append(in, "add", ".")...)
	s.run(nil, git, append(in, "commit", "-qm", "first")...)
	cmd := exec.CommandContext(s.ctx, git, "clone", "-q", "ssh://127.0.0.1:"+portOf(t, through)+repo, clone)
	cmd.Env = s.environ("GIT_SSH_COMMAND=ssh " + strings.Join(s.options(), " "))
	s.runCmd(nil, cmd)
	if got, err := os.ReadFile(filepath.Join(clone, "big")); err != nil || !bytes.Equal(got, big) {
		t.Errorf("the clone has %d bytes, %v", len(got), err)
	}
}
