package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	cadvisorapi "github.com/google/cadvisor/lib/model"
	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel/trace/noop"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"
	kubeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"
	kubeletapp "k8s.io/kubernetes/cmd/kubelet/app"
	"k8s.io/kubernetes/cmd/kubelet/app/options"
	"k8s.io/kubernetes/pkg/kubelet"
	"k8s.io/kubernetes/pkg/kubelet/apis/config"
	cadvisortest "k8s.io/kubernetes/pkg/kubelet/cadvisor/testing"
	"k8s.io/kubernetes/pkg/kubelet/cm"
	kubecontainer "k8s.io/kubernetes/pkg/kubelet/container"
	kubeletutil "k8s.io/kubernetes/pkg/kubelet/util"
	"k8s.io/kubernetes/pkg/util/oom"
	"k8s.io/kubernetes/pkg/volume"
	"k8s.io/kubernetes/pkg/volume/configmap"
	"k8s.io/kubernetes/pkg/volume/downwardapi"
	"k8s.io/kubernetes/pkg/volume/emptydir"
	"k8s.io/kubernetes/pkg/volume/projected"
	"k8s.io/kubernetes/pkg/volume/secret"
	"k8s.io/kubernetes/pkg/volume/util/hostutil"
	"k8s.io/kubernetes/pkg/volume/util/subpath"
	"k8s.io/mount-utils"
)

// node is what the flags say of a kubelet and its machine.
type node struct {
	kubeconfig, root, memory     string
	address, podPrefix           string
	cores, maxPods, leaseSeconds int
}

// machine is what the kubelet believes about its hardware.
type machine struct {
	cadvisortest.Fake
	cores  int
	memory uint64
}

func (m *machine) MachineInfo(klog.Logger) (*cadvisorapi.MachineInfo, error) {
	return &cadvisorapi.MachineInfo{
		NumCores: m.cores, MemoryCapacity: m.memory, InstanceID: cadvisorapi.InstanceID(m.NodeName),
	}, nil
}

// containerManager does nothing to containers; the stub has no room on disk.
type containerManager struct{ cm.ContainerManager }

func (m *containerManager) GetCapacity(klog.Logger, bool) v1.ResourceList {
	return v1.ResourceList{v1.ResourceEphemeralStorage: resource.MustParse("100Gi")}
}

// nodeCommand is the real kubelet, without cgroups and mounts; its containers are processes of this machine.
func nodeCommand() *cobra.Command {
	var n node
	command := &cobra.Command{Use: "node", SilenceUsage: true, RunE: func(*cobra.Command, []string) error {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return n.run(ctx)
	}}
	set := command.Flags()
	set.StringVar(&n.kubeconfig, "kubeconfig", "", "how to reach the API server")
	set.StringVar(&n.address, "address", "127.1.0.1", "the node's address on the loopback, which is its name too")
	set.StringVar(&n.podPrefix, "pods", "127.101.1.", "what the addresses of its pods begin with")
	set.StringVar(&n.root, "root", "", "a folder for its state and the logs of its containers")
	set.IntVar(&n.cores, "cpus", 4, "cores that the node pretends to have")
	set.StringVar(&n.memory, "memory", "8Gi", "memory that the node pretends to have")
	set.IntVar(&n.maxPods, "max-pods", 110, "pods at most")
	set.IntVar(&n.leaseSeconds, "lease", 40, "seconds of its lease, which it renews four times in that time")
	return command
}

// run ends at a signal, or with its owner; its containers end with it.
func (n *node) run(ctx context.Context) error {
	containers := newContainers(n.podPrefix, n.root)
	defer containers.killAll()
	server := n.settings()
	needs, err := n.dependencies(ctx, server, containers)
	if err != nil {
		return err
	}
	if err := kubeletapp.RunKubelet(ctx, server, needs); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-ownerEnded():
	}
	return nil
}

func (n *node) settings() *options.KubeletServer {
	flags := options.NewKubeletFlags()
	flags.RootDirectory = n.root
	flags.CertDirectory = filepath.Join(n.root, "pki")
	flags.HostnameOverride = n.address // a kubelet takes no --node-ip on the loopback, but a name that is an address
	settings, err := options.NewKubeletConfiguration()
	if err != nil {
		panic(err) // its defaults do not depend on anything
	}
	settings.Address, settings.ReadOnlyPort, settings.HealthzPort = n.address, 0, 0
	settings.PodLogsDir = filepath.Join(n.root, "logs")
	settings.MaxPods = int32(n.maxPods)
	settings.NodeLeaseDurationSeconds = int32(n.leaseSeconds)
	settings.RegistryPullQPS = 0 // no limit: nothing is pulled
	settings.ClusterDNS = nil
	settings.CgroupsPerQOS, settings.CgroupRoot, settings.EnforceNodeAllocatable = false, "", nil
	settings.EnableControllerAttachDetach = false
	settings.HairpinMode = config.HairpinNone
	settings.ImageServiceEndpoint = "unix:///nothing-listens-there"
	return &options.KubeletServer{KubeletFlags: *flags, KubeletConfiguration: *settings}
}

func (n *node) dependencies(
	ctx context.Context, server *options.KubeletServer, containers *containers,
) (*kubelet.Dependencies, error) {
	memory, err := resource.ParseQuantity(n.memory)
	if err != nil {
		return nil, err
	}
	client, err := n.client()
	if err != nil {
		return nil, err
	}
	for _, folder := range []string{server.PodLogsDir, server.CertDirectory} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
	}
	tls, err := kubeletapp.InitializeTLS(ctx, &server.KubeletFlags, &server.KubeletConfiguration)
	if err != nil {
		return nil, err
	}
	return &kubelet.Dependencies{
		KubeClient: client, HeartbeatClient: client, EventClient: client.CoreV1(),
		Recorder:             &record.FakeRecorder{}, // a real one reads /dev/kmsg
		RemoteRuntimeService: containers, RemoteImageService: newImages(),
		CAdvisorInterface: &machine{cadvisortest.Fake{NodeName: n.address}, n.cores, uint64(memory.Value())},
		ContainerManager:  &containerManager{cm.NewStubContainerManager()},
		OSInterface:       kubecontainer.RealOS{}, OOMAdjuster: oom.NewFakeOOMAdjuster(),
		Mounter: &mount.FakeMounter{}, Subpather: &subpath.FakeSubpath{}, HostUtil: hostutil.NewFakeHostUtil(nil),
		VolumePlugins: volumePlugins(), TLSOptions: tls, TracerProvider: noop.NewTracerProvider(),
		PodStartupLatencyTracker:  kubeletutil.NewPodStartupLatencyTracker(),
		NodeStartupLatencyTracker: kubeletutil.NewNodeStartupLatencyTracker(klog.Background()),
	}, nil
}

func (n *node) client() (*clientset.Clientset, error) {
	access, err := clientcmd.BuildConfigFromFlags("", n.kubeconfig)
	if err != nil {
		return nil, err
	}
	access.UserAgent, access.QPS, access.Burst = "kubelet", 50, 100 // a kubelet's own defaults
	access.ContentType = "application/vnd.kubernetes.protobuf"
	return clientset.NewForConfig(access)
}

func volumePlugins() (all []volume.VolumePlugin) {
	for _, some := range [][]volume.VolumePlugin{
		emptydir.ProbeVolumePlugins(), configmap.ProbeVolumePlugins(), downwardapi.ProbeVolumePlugins(),
		projected.ProbeVolumePlugins(), secret.ProbeVolumePlugins(),
	} {
		all = append(all, some...)
	}
	return all
}

// runtimeReady is what the kubelet hears of its container runtime.
func runtimeReady() *kubeapi.RuntimeStatus {
	return &kubeapi.RuntimeStatus{Conditions: []*kubeapi.RuntimeCondition{
		{Type: kubeapi.RuntimeReady, Status: true}, {Type: kubeapi.NetworkReady, Status: true},
	}}
}
