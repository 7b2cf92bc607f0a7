// swift-tools-version: 6.2
import PackageDescription

// Targets stand in the order of the layers: each may import only what it names here, and the check builds with
// --explicit-target-dependency-import-check error, so a forbidden import does not compile.

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableExperimentalFeature("Lifetimes"),
    .treatAllWarnings(as: .error),
]

let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
    name: "Apus",
    products: [
        .executable(name: "apus", targets: ["apus"]),
        .library(name: "MigrationStream", targets: ["MigrationStream"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")
    ],
    targets: [
        // Pure: no I/O, no system calls, nothing imported.
        .target(name: "MigrationStream", swiftSettings: settings + [.strictMemorySafety()]),
        .target(name: "QMP", swiftSettings: settings + [.strictMemorySafety()]),

        // zlib and zstd, which the pure codec leaves to its caller.
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .target(name: "PageCompression", dependencies: ["CZlib", "CZstd"], swiftSettings: settings),

        // The only raw system calls besides KVM's ioctls.
        .target(name: "CLinux", cSettings: [.define("_GNU_SOURCE")]),
        .target(name: "LinuxSystem", dependencies: ["CLinux"], swiftSettings: settings),

        // One type per KVM descriptor, one method per ioctl, no policy.
        .target(name: "KVM", dependencies: ["LinuxSystem", "CLinux"], swiftSettings: settings),

        // Guest memory and its dirty pages; what the devices and the migration engine see of the machine's memory.
        .target(name: "GuestMemory", dependencies: ["LinuxSystem"], swiftSettings: settings),

        // The devices of microvm. They cannot see KVM.
        .target(
            name: "Devices", dependencies: ["MigrationStream", "GuestMemory", "LinuxSystem"],
            swiftSettings: settings),

        // A guest without kernel and firmware, as data: its image, its parameters, its lines.
        .target(name: "CBuiltInGuest", exclude: ["Parts"]),
        .target(name: "BuiltInGuest", dependencies: ["CBuiltInGuest"], swiftSettings: settings),

        // What this host can do, found out by trying.
        .target(name: "HostCheck", dependencies: ["KVM", "LinuxSystem", "CLinux"], swiftSettings: settings),

        // The engine: sees memory, machines and channels through protocols that it declares itself.
        .target(
            name: "Migration", dependencies: ["MigrationStream", "PageCompression", "GuestMemory", "LinuxSystem"],
            swiftSettings: settings),

        // Disk images and who may use them.
        .target(
            name: "Storage", dependencies: ["Devices", "Migration", "GuestMemory", "LinuxSystem"],
            swiftSettings: settings),

        // KVM, memory and devices put together; the only place that sees all three.
        .target(
            name: "Machine",
            dependencies: [
                "KVM", "Devices", "Migration", "MigrationStream", "GuestMemory", "LinuxSystem", "CLinux",
            ],
            swiftSettings: settings),

        // Channels: tcp unix fd exec file.
        .target(name: "Transports", dependencies: ["Migration", "LinuxSystem"], swiftSettings: settings),

        // What putting received pages into place costs in post-copy.
        .executableTarget(
            name: "install-benchmark", dependencies: ["Machine", "Migration", "GuestMemory", "LinuxSystem"],
            path: "Benchmarks/InstallBenchmark", swiftSettings: settings),

        // What `apus stream` does, free of options and terminals.
        .target(
            name: "StreamTools", dependencies: ["MigrationStream", "PageCompression", "LinuxSystem"],
            swiftSettings: settings),

        // QMP over sockets: to any monitor, and the server of this one.
        .target(name: "QMPClient", dependencies: ["QMP", "LinuxSystem"], swiftSettings: settings),

        // What `apus migrate` does, free of options and terminals, and the record that it keeps.
        .target(name: "MigrationRecords", dependencies: ["QMP"], swiftSettings: settings),
        .target(
            name: "MigrationClient", dependencies: ["QMPClient", "QMP", "MigrationRecords", "LinuxSystem"],
            swiftSettings: settings),

        // What is told of migrations that were observed: figures, tables, a page with pictures. Pure.
        .target(name: "Report", dependencies: ["MigrationRecords", "QMP"], swiftSettings: settings),
        // What `apus compare` does: guests of its own are started, moved in several ways and watched.
        .target(
            name: "MoveTrials",
            dependencies: [
                "MigrationClient", "MigrationRecords", "QMP", "QMPClient", "Report", "BuiltInGuest", "KVM",
                "LinuxSystem",
            ],
            swiftSettings: settings),
        .target(
            name: "Monitor",
            dependencies: [
                "QMP", "Machine", "Devices", "Migration", "Transports", "MigrationStream", "LinuxSystem",
            ],
            swiftSettings: settings),

        .executableTarget(
            name: "apus",
            dependencies: [
                "Monitor", "Machine", "BuiltInGuest", "Devices", "MigrationClient", "MigrationRecords", "MoveTrials",
                "Report", "QMPClient", "QMP", "Storage", "Transports", "StreamTools", "MigrationStream", "HostCheck",
                "LinuxSystem", argumentParser,
            ],
            swiftSettings: settings),

        // Guests for tests, on whatever ground is there. Not a part of any product.
        .target(
            name: "GuestSupport", dependencies: ["BuiltInGuest", "HostCheck", "KVM", "LinuxSystem", "CLinux"],
            path: "Tests/GuestSupport", swiftSettings: settings),
        .testTarget(
            name: "GuestTests", dependencies: ["GuestSupport", "BuiltInGuest", "LinuxSystem"],
            swiftSettings: settings),
        .testTarget(
            name: "HostCheckTests", dependencies: ["HostCheck", "LinuxSystem"], swiftSettings: settings),
        .testTarget(
            name: "KVMTests", dependencies: ["KVM", "GuestSupport", "BuiltInGuest", "LinuxSystem", "CLinux"],
            swiftSettings: settings),
        // Runs Scripts/lab-selftest, which needs nothing of this package.
        .testTarget(name: "LabTests", swiftSettings: settings),
        .testTarget(name: "LinuxSystemTests", dependencies: ["LinuxSystem"], swiftSettings: settings),
        .testTarget(
            name: "MigrationTests",
            dependencies: ["Migration", "MigrationStream", "GuestMemory", "LinuxSystem", "MigrationTestSupport"],
            swiftSettings: settings),
        .testTarget(
            name: "TransportsTests",
            dependencies: ["Migration", "Transports", "MigrationTestSupport", "GuestMemory", "LinuxSystem"],
            swiftSettings: settings),
        // Both sides of a migration from a seed: a machine, a network and a clock without a kernel.
        .target(
            name: "MigrationTestSupport", dependencies: ["Migration", "MigrationStream", "GuestMemory", "LinuxSystem"],
            path: "Tests/MigrationTestSupport", swiftSettings: settings),
        .testTarget(
            name: "SimulationTests", dependencies: ["Migration", "MigrationStream", "MigrationTestSupport"],
            swiftSettings: settings),
        // Guests of this host's KVM that move in post-copy inside of the test's process.
        .testTarget(
            name: "PostcopyTests",
            dependencies: [
                "Machine", "KVM", "Devices", "Migration", "Transports", "GuestMemory", "BuiltInGuest", "GuestSupport",
                "LinuxSystem", "MigrationTestSupport",
            ],
            swiftSettings: settings),
        .testTarget(name: "MigrationStreamTests", dependencies: ["MigrationStream"], swiftSettings: settings),
        .testTarget(name: "QMPTests", dependencies: ["QMP"], swiftSettings: settings),
        .testTarget(
            name: "MonitorTests", dependencies: ["Monitor", "QMPClient", "QMP", "Transports", "LinuxSystem"],
            swiftSettings: settings),
        .testTarget(name: "PageCompressionTests", dependencies: ["PageCompression"], swiftSettings: settings),
        .testTarget(
            name: "StreamToolsTests",
            dependencies: ["StreamTools", "MigrationStream", "PageCompression", "LinuxSystem"],
            swiftSettings: settings),

        .testTarget(
            name: "MigrationClientTests", dependencies: ["MigrationRecords", "QMP"], swiftSettings: settings),

        .testTarget(name: "CommandTests", dependencies: ["apus"], swiftSettings: settings),
        .testTarget(
            name: "ReportTests", dependencies: ["Report", "MigrationRecords", "QMP"], swiftSettings: settings),
        // Whole machines on this host, which are moved: one after the other.
        .testTarget(
            name: "CompareTests", dependencies: ["apus", "LinuxSystem", "PeerSupport"], swiftSettings: settings),

        // With real QEMUs: each test starts machines of its own, so they run one after the other.
        .testTarget(name: "PeerTests", dependencies: ["apus", "PeerSupport", "LinuxSystem"], swiftSettings: settings),
        // Real monitors as processes, their QMP and what their guests say. Not a part of any product.
        .target(
            name: "PeerSupport", dependencies: ["BuiltInGuest", "KVM", "LinuxSystem"], path: "Tests/PeerSupport",
            swiftSettings: settings),
        // Moves guests between processes of `apus run`, with `apus migrate`; each test takes whole cores.
        .testTarget(
            name: "MigrationMatrixTests",
            dependencies: ["apus", "PeerSupport", "GuestSupport", "BuiltInGuest", "KVM", "LinuxSystem"],
            swiftSettings: settings),
        .testTarget(
            name: "GuestMemoryTests", dependencies: ["GuestMemory", "LinuxSystem"], swiftSettings: settings),
        .testTarget(
            name: "DevicesTests", dependencies: ["Devices", "MigrationStream", "GuestMemory", "LinuxSystem"],
            swiftSettings: settings),
        .testTarget(
            name: "StorageTests", dependencies: ["Storage", "Devices", "GuestMemory", "LinuxSystem"],
            swiftSettings: settings),
        .testTarget(
            name: "MachineTests",
            dependencies: [
                "apus", "Machine", "KVM", "Devices", "Migration", "Transports", "MigrationStream", "GuestMemory",
                "BuiltInGuest", "GuestSupport", "LinuxSystem", "CLinux",
            ],
            swiftSettings: settings),
    ]
)
