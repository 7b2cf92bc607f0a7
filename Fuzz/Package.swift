// swift-tools-version: 6.2
import PackageDescription

// One libFuzzer program for each place where bytes from outside come in. Scripts/fuzz builds and runs them.

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableExperimentalFeature("Lifetimes"),
    .treatAllWarnings(as: .error),
    // libFuzzer brings main.
    .unsafeFlags(["-parse-as-library"]),
]

func fuzzer(_ name: String) -> Target {
    .executableTarget(
        name: name, dependencies: ["Channel", .product(name: "MigrationStream", package: "Apus")],
        swiftSettings: settings)
}

let package = Package(
    name: "Fuzz",
    dependencies: [.package(name: "Apus", path: "..")],
    targets: [
        .target(
            name: "Channel", dependencies: [.product(name: "MigrationStream", package: "Apus")],
            swiftSettings: settings),
        fuzzer("MainStream"),
        fuzzer("ReturnPath"),
        fuzzer("Multifd"),
        fuzzer("XBZRLE"),
        fuzzer("DeviceState"),
        fuzzer("JSON"),
    ]
)
