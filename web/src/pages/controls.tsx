import { Empty } from "../ui/parts";
import type { PageOf, PageProps } from "./page";

function Page({ home }: PageProps) {
  return <Empty why={home.empty["controls"] ?? ""} />;
}

export const controls: PageOf = { path: "controls", nav: "Controls", title: () => "Controls", Page };
