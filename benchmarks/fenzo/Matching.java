import com.netflix.fenzo.ConstraintEvaluator;
import com.netflix.fenzo.TaskAssignmentResult;
import com.netflix.fenzo.TaskRequest;
import com.netflix.fenzo.TaskScheduler;
import com.netflix.fenzo.TaskTrackerState;
import com.netflix.fenzo.VMAssignmentResult;
import com.netflix.fenzo.VMTaskFitnessCalculator;
import com.netflix.fenzo.VirtualMachineCurrentState;
import com.netflix.fenzo.VirtualMachineLease;
import com.netflix.fenzo.plugins.BinPackingFitnessCalculators;
import com.sun.management.OperatingSystemMXBean;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.mesos.Protos;

/**
 * Fenzo for one benchmark. Arguments: "pack" (the best fit by memory) or "any" (the first agent that fits), and the
 * racks that a task may run on. On standard input: the number of agents, a line for each (host name, cpus, MB, first and
 * last port, rack); then rounds: the number of tasks, a line for each (cpus, MB). A round is answered with its time and
 * its time of the processor (both in ns), and a line for each task: agent and port, or "-".
 */
public final class Matching {
    private static final OperatingSystemMXBean SYSTEM =
            (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    private static final BufferedReader IN = new BufferedReader(new InputStreamReader(System.in));
    private static long leases = 0;

    public static void main(String[] arguments) throws IOException {
        Set<String> racks = new HashSet<>(Arrays.asList(arguments).subList(1, arguments.length));
        TaskScheduler scheduler = scheduler(arguments[0]);
        int count = Integer.parseInt(IN.readLine());
        List<VirtualMachineLease> offered = new ArrayList<>();
        for (int n = 0; n < count; n++) {
            offered.add(new Lease(IN.readLine().split(" ")));
        }
        List<ConstraintEvaluator> constraints = Collections.singletonList(new OnRacks(racks));
        PrintStream out = new PrintStream(System.out, false);
        for (String line = IN.readLine(); line != null; line = IN.readLine()) {
            List<Task> tasks = new ArrayList<>();
            for (int n = 0; n < Integer.parseInt(line); n++) {
                tasks.add(new Task(String.valueOf(n), IN.readLine().split(" "), constraints));
            }
            offered = round(scheduler, tasks, offered, out);
            out.flush();
        }
        scheduler.shutdown();
    }

    private static TaskScheduler scheduler(String strategy) {
        TaskScheduler.Builder builder = new TaskScheduler.Builder()
                .withLeaseRejectAction(lease -> { throw new IllegalStateException("an offer was rejected"); })
                .withLeaseOfferExpirySecs(1_000_000)
                .disableShortfallEvaluation();
        if (strategy.equals("pack")) {
            builder = builder.withFitnessCalculator(BinPackingFitnessCalculators.memoryBinPacker);
        } else {
            builder = builder.withFitnessGoodEnoughFunction(fitness -> true);
        }
        return builder.build();
    }

    /** The offers that were used, as they are to be made again. */
    private static List<VirtualMachineLease> round(
            TaskScheduler scheduler, List<Task> tasks, List<VirtualMachineLease> offered, PrintStream out) {
        long usedBefore = SYSTEM.getProcessCpuTime();
        long before = System.nanoTime();
        Map<String, VMAssignmentResult> results = scheduler.scheduleOnce(tasks, offered).getResultMap();
        long took = System.nanoTime() - before;
        long used = SYSTEM.getProcessCpuTime() - usedBefore;
        String[] placed = new String[tasks.size()];
        Arrays.fill(placed, "-");
        List<VirtualMachineLease> again = new ArrayList<>();
        for (VMAssignmentResult result : results.values()) {
            for (TaskAssignmentResult task : result.getTasksAssigned()) {
                placed[Integer.parseInt(task.getTaskId())] = result.getHostname() + " " + task.getAssignedPorts().get(0);
            }
            for (VirtualMachineLease lease : result.getLeasesUsed()) {
                again.add(new Lease(((Lease) lease).fields));
            }
        }
        out.println(took + " " + used);
        for (String each : placed) {
            out.println(each);
        }
        return again;
    }

    private static final class OnRacks implements ConstraintEvaluator {
        private static final Result YES = new Result(true, "");
        private static final Result NO = new Result(false, "another rack");
        private final Set<String> racks;

        OnRacks(Set<String> racks) {
            this.racks = racks;
        }

        @Override public String getName() {
            return "OnRacks";
        }

        @Override public Result evaluate(TaskRequest task, VirtualMachineCurrentState agent, TaskTrackerState tasks) {
            Protos.Attribute rack = agent.getCurrAvailableResources().getAttributeMap().get("rack");
            return rack != null && racks.contains(rack.getText().getValue()) ? YES : NO;
        }
    }

    private static final class Task implements TaskRequest {
        private final String id;
        private final double cpus;
        private final double memory;
        private final List<ConstraintEvaluator> constraints;
        private AssignedResources assigned;

        Task(String id, String[] fields, List<ConstraintEvaluator> constraints) {
            this.id = id;
            this.cpus = Double.parseDouble(fields[0]);
            this.memory = Double.parseDouble(fields[1]);
            this.constraints = constraints;
        }

        @Override public String getId() {
            return id;
        }

        @Override public String taskGroupName() {
            return "";
        }

        @Override public double getCPUs() {
            return cpus;
        }

        @Override public double getMemory() {
            return memory;
        }

        @Override public double getNetworkMbps() {
            return 0;
        }

        @Override public double getDisk() {
            return 0;
        }

        @Override public int getPorts() {
            return 1;
        }

        @Override public Map<String, Double> getScalarRequests() {
            return Collections.emptyMap();
        }

        @Override public Map<String, NamedResourceSetRequest> getCustomNamedResources() {
            return Collections.emptyMap();
        }

        @Override public List<? extends ConstraintEvaluator> getHardConstraints() {
            return constraints;
        }

        @Override public List<? extends VMTaskFitnessCalculator> getSoftConstraints() {
            return Collections.emptyList();
        }

        @Override public void setAssignedResources(AssignedResources resources) {
            assigned = resources;
        }

        @Override public AssignedResources getAssignedResources() {
            return assigned;
        }
    }

    private static final class Lease implements VirtualMachineLease {
        private final String[] fields;
        private final String id = "offer" + leases++;
        private final double cpus;
        private final double memory;
        private final List<Range> ports;
        private final Map<String, Protos.Attribute> attributes;
        private final long offered = System.currentTimeMillis();

        Lease(String[] fields) {
            this.fields = fields;
            cpus = Double.parseDouble(fields[1]);
            memory = Double.parseDouble(fields[2]);
            ports = Collections.singletonList(new Range(Integer.parseInt(fields[3]), Integer.parseInt(fields[4])));
            attributes = Collections.singletonMap("rack", Protos.Attribute.newBuilder()
                    .setName("rack").setType(Protos.Value.Type.TEXT)
                    .setText(Protos.Value.Text.newBuilder().setValue(fields[5])).build());
        }

        @Override public String getId() {
            return id;
        }

        @Override public long getOfferedTime() {
            return offered;
        }

        @Override public String hostname() {
            return fields[0];
        }

        @Override public String getVMID() {
            return fields[0];
        }

        @Override public double cpuCores() {
            return cpus;
        }

        @Override public double memoryMB() {
            return memory;
        }

        @Override public double networkMbps() {
            return 0;
        }

        @Override public double diskMB() {
            return 100_000;
        }

        @Override public List<Range> portRanges() {
            return ports;
        }

        @Override public Protos.Offer getOffer() {
            return null;
        }

        @Override public Map<String, Protos.Attribute> getAttributeMap() {
            return attributes;
        }

        @Override public Double getScalarValue(String name) {
            return null;
        }

        @Override public Map<String, Double> getScalarValues() {
            return Collections.emptyMap();
        }
    }
}
