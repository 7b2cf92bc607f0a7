// swift-tools-version: 6.2
import PackageDescription

// What Scripts/bench builds: measurements from memory, and the plain copier that migrations are held against.

let package = Package(
    name: "Benchmarks",
    dependencies: [.package(name: "Apus", path: "..")],
    targets: [
        .executableTarget(
            name: "DecodeBenchmark", dependencies: [.product(name: "MigrationStream", package: "Apus")],
            swiftSettings: [
                .swiftLanguageMode(.v6),
                .enableUpcomingFeature("ExistentialAny"),
                .enableUpcomingFeature("InternalImportsByDefault"),
                .enableUpcomingFeature("MemberImportVisibility"),
                .enableExperimentalFeature("Lifetimes"),
                .treatAllWarnings(as: .error),
            ]),
        .executableTarget(name: "BareCopy", linkerSettings: [.linkedLibrary("pthread")]),
    ]
)
