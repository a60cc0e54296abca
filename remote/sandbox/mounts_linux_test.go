package sandbox

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSystemMountsArePicked(t *testing.T) {
	const mountinfo = `22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw
23 22 0:21 / /proc rw - proc proc rw
40 22 8:4 / /var/lib rw shared:20 - xfs /dev/sda4 rw
30 22 8:3 / /var rw shared:10 - ext4 /dev/sda3 rw
31 22 8:5 / /home rw shared:11 - ext4 /dev/sda5 rw
32 22 0:40 / /usr ro - btrfs /dev/sdb rw,subvol=/usr
33 22 0:41 / /opt/a\040b\134c rw master:1 propagate_from:2 - ext4 /dev/sdc rw
34 22 0:42 / /opt/two\040words rw - ext4 /dev/sdc rw
35 30 0:43 / /var/lib/docker/overlay2/1/merged rw - overlay overlay rw
36 30 0:44 / /var/lib/vxorch-sandbox/a/disk rw - ext4 /dev/sdd rw
37 22 0:45 / /usrlocal rw - ext4 /dev/sde rw
broken line
`
	got := systemMounts(parseMounts(mountinfo), "/var/lib/vxorch-sandbox")
	want := []string{"/opt/two words", "/usr", "/var", "/var/lib"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("systemMounts (-want +got):\n%s", diff)
	}
}

func TestUnder(t *testing.T) {
	for _, c := range []struct {
		path, dir string
		want      bool
	}{
		{"/a", "/a", true},
		{"/a/b", "/a", true},
		{"/ab", "/a", false},
		{"/a", "/a/b", false},
		{"/a", "/", true},
	} {
		if got := under(c.path, c.dir); got != c.want {
			t.Errorf("under(%q, %q) = %v, want %v", c.path, c.dir, got, c.want)
		}
	}
}
