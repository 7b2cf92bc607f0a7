// swift-tools-version: 6.2
import PackageDescription

// What runs inside the Linux guest. A package of its own: it is linked statically and never reaches users.

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

let package = Package(
    name: "LinuxGuest",
    targets: [
        .target(name: "CWorkload", cSettings: [.define("_GNU_SOURCE")]),
        .executableTarget(name: "workload", dependencies: ["CWorkload"], swiftSettings: settings),
    ]
)
