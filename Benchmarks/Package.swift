// swift-tools-version: 6.2
import PackageDescription

// What is measured from memory, without processes or sockets. Scripts/bench builds and runs it.

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
            ])
    ]
)
